"""Names of folders for people."""

import pytest

from services.mail.providers.imap.client.names import decode_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"INBOX", "INBOX"),
        (b"&BCcENQRABD0EPgQyBDgEOgQ4-|template", "Черновики|template"),
        (b"a &- b", "a & b"),
        ("Entwürfe".encode(), "Entwürfe"),
        # Wrongly encoded names stay readable.
        (b"R&D", "R&D"),
        (b"&x-", "&x-"),
        (b"&2D0-", "&2D0-"),
        (b"\xff", "\ufffd"),
    ],
)
def test_are_decoded_leniently(raw: bytes, name: str) -> None:
    assert decode_name(raw) == name
