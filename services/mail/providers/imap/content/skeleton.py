"""A large message without its attachments: header blocks and texts in place, other bodies left out.

It is put together as RFC 5322 bytes, so that the one reader of messages reads it, and a message has the same texts
whether it was fetched whole or not.
"""

from collections.abc import Mapping
from typing import Final

from services.mail.content.limits import ATTACHED_BYTES, BODY_BYTES
from services.mail.content.mime.raw import read_raw
from services.mail.content.mime.tree import Part, Tree
from services.mail.providers.imap.content.structure import Structure

# Base64 doubles no text: so many bytes of a body hold all of the text that is stored.
LARGEST_BODY: Final = 2 * BODY_BYTES
_LINE: Final = (57, 78)
"""Bytes in a line of base64, decoded and as sent."""


def is_wanted(part: Structure) -> bool:
    """Return whether a part's body is fetched: texts that are no attachments, and small attached messages."""
    if part.mime_type == "message/rfc822":
        return part.octets <= ATTACHED_BYTES
    return part.mime_type.startswith("text/") and part.disposition != "attachment"


def sections_of(structure: Structure) -> list[str]:
    """Return the sections to fetch; those that are too large have an end."""
    wanted = ["HEADER"]
    wanted += [f"{part.section}.MIME" for part in _parts(structure) if part.section]
    for part in structure.leaves():
        if is_wanted(part):
            wanted.append(part.body_section + (f"<0.{LARGEST_BODY}>" if part.octets > LARGEST_BODY else ""))
    return wanted


def _parts(structure: Structure) -> list[Structure]:
    return [structure, *(each for child in structure.children for each in _parts(child))]


def tree_of(structure: Structure, fetched: Mapping[str, bytes]) -> Tree | None:
    """Return the message's tree; None if what was fetched is not the message that the structure describes."""
    if "HEADER" not in fetched or any(section.partition("<")[0] not in fetched for section in sections_of(structure)):
        return None
    tree = read_raw(fetched["HEADER"] + _body(structure, fetched))
    return tree if _complete(structure, tree.root) else None


def _body(part: Structure, fetched: Mapping[str, bytes]) -> bytes:
    if not part.is_multipart:
        return fetched[part.body_section] if is_wanted(part) else b""
    pieces = [
        b"--" + part.boundary + b"\r\n" + fetched[f"{child.section}.MIME"] + _body(child, fetched) + b"\r\n"
        for child in part.children
    ]
    return b"".join([*pieces, b"--", part.boundary, b"--\r\n"])


def _complete(structure: Structure, part: Part) -> bool:
    """Give parts whose bodies were left out their sizes; return whether the tree has the structure."""
    if structure.is_multipart:
        return len(structure.children) == len(part.children) and all(map(_complete, structure.children, part.children))
    if not is_wanted(structure):
        part.content, part.size = None, _decoded_size(structure)
    return True


def _decoded_size(part: Structure) -> int:
    """Return about how many bytes a body has without its transfer encoding."""
    return part.octets * _LINE[0] // _LINE[1] if part.encoding == "base64" else part.octets
