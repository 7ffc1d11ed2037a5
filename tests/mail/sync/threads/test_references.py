"""The ids by which a message finds its thread."""

from services.mail.sync.threads.references import MOST_REFERENCES, references_of
from tests.support.mail.samples import parse


def references(*headers: str) -> list[bytes]:
    """Return the references of a message with these headers."""
    return references_of(parse(*headers))


def only(message_id: str) -> bytes:
    """Return the reference of an id."""
    [found] = references(f"Message-ID: <{message_id}>")
    return found


class TestReferences:
    def test_are_the_root_the_others_and_its_own_id_each_once(self) -> None:
        found = references("References: <a@x> <b@x> <a@x>", "In-Reply-To: <b@x>", "Message-ID: <c@x>")
        assert found == [only("a@x"), only("b@x"), only("c@x")]

    def test_of_a_message_without_any_id_are_none(self) -> None:
        assert references("Subject: hello") == []
        assert references("Message-ID: <>", "References: <> <>", "In-Reply-To: your message of Tuesday") == []

    def test_tell_ids_apart_that_differ_in_case(self) -> None:
        assert only("A@x") != only("a@x")

    def test_of_malformed_headers_are_the_ids_that_can_be_read(self) -> None:
        found = references("References: <a@x>, nonsense <b\n @x> <unclosed@x", "Message-ID: c@x")
        assert found == [only("a@x"), only("b@x"), only("c@x")]

    def test_of_a_long_header_are_the_first_and_the_last(self) -> None:
        ids = [f"{number}@x" for number in range(10_000)]
        found = references(f"References: {' '.join(f'<{each}>' for each in ids)}")
        assert found == [only(each) for each in (ids[0], *ids[1 - MOST_REFERENCES :])]

    def test_have_a_fixed_size(self) -> None:
        assert {len(each) for each in references(f"References: <{'a' * 100_000}@x> <b@x>")} == {12}
