"""Message content: parses every provider's messages into one clean model. Pure functions."""

from services.mail.content.headers.filenames import name_download, sanitise_filename
from services.mail.content.model import (
    Address,
    AttachedMessage,
    Attachment,
    CalendarPart,
    MissingPart,
    ParsedMessage,
)
from services.mail.content.parse import parse_raw
from services.mail.content.text.clean import clean_line, clean_text, cut_utf8
from services.mail.content.text.html_text import html_to_text
from services.mail.content.text.indexable import indexable

__all__ = [
    "Address",
    "AttachedMessage",
    "Attachment",
    "CalendarPart",
    "MissingPart",
    "ParsedMessage",
    "clean_line",
    "clean_text",
    "cut_utf8",
    "html_to_text",
    "indexable",
    "name_download",
    "parse_raw",
    "sanitise_filename",
]
