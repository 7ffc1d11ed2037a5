"""E-mail addresses as they are compared: whole, in any case."""

import re
import unicodedata

LONGEST_ADDRESS = 254
"""Characters of an address that are compared (RFC 5321, 4.5.3.1.3)."""

TAG = "+"
"""The separator of a mailbox's name and a tag that its owner appends (RFC 5233)."""

_ADDRESS = re.compile(r"<?(?P<local>[^\s@<>]*)@(?P<domain>[^\s@<>]*[^\s@<>.,;])[.,;]*>?")


def address_key(email: str) -> str:
    """Return the form in which addresses are compared and indexed: `example.com@ada` for `Ada@Example.com`.

    The domain comes first, so that the keys of one domain, and those of one mailbox with its tags, begin alike.
    """
    local, _, domain = unicodedata.normalize("NFC", email.strip()).lower().rpartition("@")
    return f"{domain}@{local}"[:LONGEST_ADDRESS]


def split_address(text: str) -> tuple[str, str] | None:
    """Return local part and domain if the text is one address, or `@` and a domain: then the local part is empty.

    A domain has a dot or is a literal; `ann@example` is not a whole address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not ("." in match["domain"] or match["domain"].startswith("[")):
        return None
    return match["local"], match["domain"]
