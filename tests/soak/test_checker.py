"""The comparison of threads notices those that are split, joined or called otherwise."""

from services.sandbox.imap.profiles import YANDEX
from tests.soak.checker import differing_threads
from tests.soak.terms import GmailTerms, ImapTerms

TRUE = {"1": "a", "2": "a", "3": "b"}


class TestThreads:
    def test_that_are_split_or_joined_differ(self) -> None:
        assert differing_threads(TRUE, {"1": "x", "2": "x", "3": "y"}, by_id=False) == []
        assert len(differing_threads(TRUE, {"1": "x", "2": "z", "3": "y"}, by_id=False)) == 2
        assert len(differing_threads(TRUE, {"1": "x", "2": "x", "3": "x"}, by_id=False)) == 3

    def test_differ_by_the_ids_that_a_provider_has(self) -> None:
        assert len(differing_threads(TRUE, {"1": "a", "2": "a", "3": "c"}, by_id=True)) == 1

    def test_of_messages_that_either_side_lacks_do_not_count(self) -> None:
        assert differing_threads(TRUE, {"1": "x", "4": "x"}, by_id=False) == []

    def test_are_one_where_messages_link_them_and_the_provider_has_none(self) -> None:
        linked = [("b", "c"), ("a", "c")]
        assert len(set(ImapTerms(YANDEX).threads(TRUE, linked).values())) == 1
        assert GmailTerms().threads(TRUE, linked) == TRUE
