"""Marks as label ids of a copy."""

from itertools import combinations

import pytest

from services.mail.marks import NEUTRAL_MARK_IDS, Mark, MarkIds, MarksRead
from services.mail.providers.label_ids import NOT_SHOWN, UNSEEN, ids_of_mark, mark_ids, marks_of

OWN = MarkIds(unseen="new", flagged="star", draft="draft", important="urgent")
NO_MARKS = frozenset[Mark]()
ALL_SETS = [frozenset(marks) for size in range(len(Mark) + 1) for marks in combinations(Mark, size)]


class TestOf:
    def test_a_message_without_marks_is_unseen(self) -> None:
        assert OWN.of(NO_MARKS) == ["new"]

    def test_a_seen_message_has_no_id_for_that(self) -> None:
        assert OWN.of({Mark.SEEN, Mark.FLAGGED}) == ["star"]

    @pytest.mark.parametrize("marks", ALL_SETS)
    def test_is_read_back(self, marks: frozenset[Mark]) -> None:
        read = OWN.read(("Work", *OWN.of(marks), "Home"))
        assert read.label_ids == ("Work", "Home")
        assert read.marked | ({Mark.SEEN} - read.unmarked) == marks


class TestRead:
    def test_leaves_ids_of_other_providers_alone(self) -> None:
        assert OWN.read(NEUTRAL_MARK_IDS.all()) == MarksRead(NEUTRAL_MARK_IDS.all(), NO_MARKS, NO_MARKS)


class TestShown:
    @pytest.mark.parametrize("provider", ["google", "made-up"])
    @pytest.mark.parametrize("marks", ALL_SETS)
    def test_are_those_of_the_message_whatever_its_provider(self, provider: str, marks: frozenset[Mark]) -> None:
        shown = marks_of(["Work", *mark_ids(provider).of(marks)], is_read=Mark.SEEN in marks)
        assert sorted(shown) == sorted(marks)


class TestChanges:
    @pytest.mark.parametrize("before", ALL_SETS)
    def test_lead_from_one_set_of_marks_to_another(self, before: frozenset[Mark]) -> None:
        for after in ALL_SETS:
            gained, lost = OWN.of_changes(marked=after - before, unmarked=before - after)
            assert (set(OWN.of(before)) | gained) - lost == set(OWN.of(after))

    def test_of_nothing_are_none(self) -> None:
        assert OWN.of_changes(marked=NO_MARKS, unmarked=NO_MARKS) == (set(), set())


class TestIdsOfAllProviders:
    @pytest.mark.parametrize("provider", ["google", "made-up"])
    def test_find_the_marks_of_each(self, provider: str) -> None:
        ids = mark_ids(provider)
        assert ids.unseen in UNSEEN
        for mark in Mark:
            if mark is not Mark.SEEN:
                [kept] = ids.of({Mark.SEEN, mark})
                assert kept in ids_of_mark(mark)

    def test_hide_those_that_are_not_labels_at_the_provider(self) -> None:
        assert set(mark_ids("made-up").all()) == NOT_SHOWN
        assert NOT_SHOWN.isdisjoint(mark_ids("google").all())
