"""An IMAP server over the sandbox's mailboxes, which looks like Yandex or like a modern server."""
