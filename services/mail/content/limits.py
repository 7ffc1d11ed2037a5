"""Bounds of one message. The excess is left out and `truncated` says so."""

BODY_BYTES = 4 * 1024 * 1024
"""Text and HTML, each, as UTF-8."""

CALENDAR_BYTES = 256 * 1024
"""One invitation, as UTF-8."""

HEADER_BYTES = 1024 * 1024
"""All headers of one message part, names included."""

DEPTH = 100
"""Levels of nested multiparts."""

PARTS = 1_000
"""Parts of one message, containers included."""

BOUNDARY_SCAN_FACTOR = 16
"""How often a message's size may be scanned for boundaries (nested multiparts scan again)."""

ATTACHED_LEVELS = 5
"""How deep attached messages within attached messages are described."""

ATTACHED_BYTES = 256 * 1024
"""Texts, names and addresses of all attached messages together, as UTF-8."""

ATTACHED_TEXT_BYTES = 64 * 1024
"""The text of one attached message, as UTF-8."""

LARGE_BYTES = 256 * 1024
"""From here on parsing can take longer than an event loop should wait (some 10 ms)."""

CONTENT_ID_LENGTH = 998
"""Of a Content-ID: no line is longer (RFC 5322 section 2.1.1)."""
