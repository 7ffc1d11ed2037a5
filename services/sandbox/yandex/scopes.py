"""Scopes of Yandex that concern identity and mail, with their descriptions on the consent page."""

from typing import Final

EMAIL: Final = "login:email"
INFO: Final = "login:info"
AVATAR: Final = "login:avatar"
PHONE: Final = "login:default_phone"
BIRTHDAY: Final = "login:birthday"
READ_MAIL: Final = frozenset({"mail:imap_ro", "mail:imap_full"})
WORDS: Final = {
    EMAIL: "Access to the email address",
    INFO: "Access to the username, first name and surname, gender",
    AVATAR: "Access to the user's portrait",
    BIRTHDAY: "Access to the date of birth",
    PHONE: "Access to the phone number",
    "mail:imap_ro": "Reading messages in the mailbox over IMAP",
    "mail:imap_full": "Reading and deleting messages in the mailbox over IMAP",
    "mail:smtp": "Sending messages over SMTP",
}
KNOWN: Final = frozenset(WORDS)
