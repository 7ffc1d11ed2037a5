"""Public ids."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.ids import FeedPosition, PublicId, PublicIds

KEY = bytes(range(16))
# Mailboxes up to 1,000 have plain ids.
IDS = PublicIds(KEY, plain_until=1000)
MAILBOX = st.integers(1, 2**40 - 1) | st.integers(1, 2000)
LOCAL = st.integers(0, 2**56 - 1)
BIGINT = st.integers(0, 2**63 - 1)
SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def spell(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def plain(*numbers: int) -> str:
    """Return the spelling of releases before ids were encrypted."""
    return spell(b"".join(number.to_bytes(8) for number in numbers))


class TestIds:
    @given(MAILBOX, LOCAL)
    def test_parse_to_the_original(self, mailbox_id: int, local_id: int) -> None:
        public_id = IDS.encode(mailbox_id, local_id)
        assert IDS.parse(public_id) == PublicId(mailbox_id, local_id)
        assert set(public_id) <= SAFE
        assert len(public_id) == 22

    @given(st.integers(1001, 2**40 - 1), LOCAL)
    def test_of_messages_and_syncs_are_never_taken_for_each_other(self, mailbox_id: int, local_id: int) -> None:
        sync_id = IDS.encode_sync(mailbox_id, local_id)
        assert IDS.parse_sync(sync_id) == PublicId(mailbox_id, local_id)
        assert IDS.parse(sync_id) is None
        assert IDS.parse_sync(IDS.encode(mailbox_id, local_id)) is None

    @given(st.integers(1001, 2**40 - 1), LOCAL)
    def test_show_no_numbers(self, mailbox_id: int, local_id: int) -> None:
        public_id = IDS.encode(mailbox_id, local_id)
        assert public_id != plain(mailbox_id, local_id)
        # Those of neighbours have nothing in common, nor have those under another key.
        others = (
            IDS.encode(mailbox_id, local_id + 1),
            PublicIds(bytes(16), plain_until=0).encode(mailbox_id, local_id),
        )
        for other in others:
            differing = int.from_bytes(_bytes(public_id)) ^ int.from_bytes(_bytes(other))
            assert 24 < differing.bit_count() < 104

    @given(st.integers(1, 1000), LOCAL)
    def test_of_mailboxes_from_before_stay(self, mailbox_id: int, local_id: int) -> None:
        assert IDS.encode(mailbox_id, local_id) == IDS.encode_sync(mailbox_id, local_id) == plain(mailbox_id, local_id)
        assert IDS.parse_sync(plain(mailbox_id, local_id)) == PublicId(mailbox_id, local_id)

    @given(st.integers(1001, 2**40 - 1), LOCAL)
    def test_of_later_mailboxes_cannot_be_guessed_from_numbers(self, mailbox_id: int, local_id: int) -> None:
        assert IDS.parse(plain(mailbox_id, local_id)) is None

    @given(st.text(max_size=40) | st.text("ABCDabcd0189-_=", min_size=18, max_size=26))
    def test_of_other_text_are_none_or_have_one_spelling(self, value: str) -> None:
        found = IDS.parse(value)
        assert found is None or IDS.encode(found.mailbox_id, found.local_id) == value

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "=",
            "\0",
            "Ж" * 22,
            plain(1, 2) + "=",
            plain(1, 2) + "==",
            " " + plain(1, 2),
            plain(1, 2)[:-1] + "B",  # the same bits in another spelling
            plain(0, 1),
            plain(2**63, 1),
            plain(1, 2**64 - 1),
        ],
    )
    def test_that_are_malformed_are_none(self, value: str) -> None:
        assert IDS.parse(value) is None


class TestPositions:
    @given(MAILBOX, BIGINT, LOCAL)
    def test_parse_to_the_original(self, mailbox_id: int, incarnation: int, seq: int) -> None:
        position = FeedPosition(mailbox_id, incarnation, seq)
        assert IDS.parse_position(IDS.encode_position(position)) == position

    @given(st.integers(1, 1000), BIGINT, BIGINT)
    def test_of_mailboxes_from_before_stay(self, mailbox_id: int, incarnation: int, seq: int) -> None:
        position = FeedPosition(mailbox_id, incarnation, seq)
        assert IDS.encode_position(position) == plain(mailbox_id, incarnation, seq)

    @given(st.integers(1, 1000), LOCAL)
    def test_without_an_incarnation_belong_to_the_first(self, mailbox_id: int, seq: int) -> None:
        assert IDS.parse_position(plain(mailbox_id, seq)) == FeedPosition(mailbox_id, 0, seq)

    @given(st.text(max_size=40) | st.text("ABCDabcd0189-_=", min_size=26, max_size=34))
    def test_of_other_text_are_none_or_have_one_spelling(self, value: str) -> None:
        found = IDS.parse_position(value)
        assert found is None or value in (IDS.encode_position(found), plain(found.mailbox_id, found.seq))

    @pytest.mark.parametrize(
        "value", ["", plain(1, 2, 3)[:-1], plain(1, 2, 3) + "=", plain(1, 2**63, 3), plain(2000, 2, 3), plain(2000, 3)]
    )
    def test_that_are_malformed_are_none(self, value: str) -> None:
        assert IDS.parse_position(value) is None

    def test_are_no_ids(self) -> None:
        for mailbox_id in (1, 2000):
            assert IDS.parse(IDS.encode_position(FeedPosition(mailbox_id, 2, 3))) is None
            assert IDS.parse_position(IDS.encode(2000, 3)) is None


def _bytes(public_id: str) -> bytes:
    return base64.urlsafe_b64decode(public_id + "==")
