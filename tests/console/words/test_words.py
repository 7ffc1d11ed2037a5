"""What machines say, in words."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from services.console.gateway.errors import RefusedError, UnreachableError
from services.console.words import problems, states
from services.console.words.amounts import counted, size
from services.console.words.states import State, Tone, explain, mailbox_state, progress, sync_state
from services.console.words.times import duration, exact, relative
from services.console.words.webhooks import webhook_state
from services.gateway.problems.error_codes import ERROR_CODES
from services.gateway.schemas.syncs import WaitReason
from tests.support.console.fake_gateway import NOW, mailbox, sync

MOMENT = datetime.fromtimestamp(NOW, UTC)


class TestTimes:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0, "just now"), (44, "just now"), (45, "1 min ago"), (300, "5 min ago"), (7200, "2 h ago"),
            (86_400, "1 day ago"),            (5 * 86_400, "5 days ago"), (7 * 86_400, "23 Nov 2026"),
            (-10, "in a moment"), (-7200, "in 2 h"),
        ],
    )  # fmt: skip
    def test_are_relative_within_a_week(self, seconds: int, said: str) -> None:
        assert relative(MOMENT - timedelta(seconds=seconds), MOMENT) == said

    def test_are_exact_where_wanted(self) -> None:
        assert exact(MOMENT) == "2026-11-30 00:53:20 UTC"
        assert (duration(20), duration(600)) == ("less than a minute", "about 10 min")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (57_300, "57 kB"), (999_960, "1.0 MB"), (10**16, "10000 TB")],
)
def test_sizes_have_units_of_thousands(count: int, said: str) -> None:
    assert size(count) == said


def test_counts_have_their_noun() -> None:
    assert (counted(1, "message"), counted(1200, "message"), counted(0, "mailbox", "mailboxes")) == (
        "1 message", "1,200 messages", "0 mailboxes",
    )  # fmt: skip


class TestStates:
    def test_of_a_mailbox_without_a_sync(self) -> None:
        assert mailbox_state(mailbox(), None, MOMENT) == State(
            Tone.QUIET, "Connected", "Nothing is copied yet.", "Start a sync."
        )

    def test_of_a_mailbox_without_access_come_before_its_syncs(self) -> None:
        denied = mailbox(status="access_denied", access_denied_reason="admin_policy")
        assert mailbox_state(denied, sync(), MOMENT).remedy == "The user asks their administrator to allow it."
        assert mailbox_state(mailbox(status="reauth_required"), sync(), MOMENT).tone is Tone.BAD

    def test_of_a_sync_that_goes_on_tell_how_far_and_how_fast(self) -> None:
        going = sync(
            state="running", ended_at=None, listed=1000, stored=500, pending=500, eta_seconds=600,
            created_at="2026-11-30T00:43:20.000Z",
        )  # fmt: skip
        assert sync_state(going, MOMENT) == State(
            Tone.BUSY, "Copying", "1,000 listed, 500 copied, 500 to go, 50 a minute, about 10 min left."
        )
        assert progress(going) == 50
        assert progress(sync()) is None

    @pytest.mark.parametrize("reason", get_args(WaitReason.__value__))
    def test_say_what_is_waited_for(self, reason: str) -> None:
        waiting = sync(
            state="running", ended_at=None, waiting_for=reason, waiting_until="2026-11-30T01:00:00.000Z",
            last_error="provider_unavailable",
        )  # fmt: skip
        state = sync_state(waiting, MOMENT)
        assert reason in states._WAITS
        assert state.remedy.startswith(f"Waits for {states._WAITS[reason]} until 01:00:00 UTC.")
        assert state.remedy.endswith("The provider does not answer.")

    @pytest.mark.parametrize(
        ("fields", "word", "tone"),
        [
            ({"state": "queued", "ended_at": None}, "Queued", Tone.BUSY),
            ({"state": "cancelled"}, "Cancelled", Tone.QUIET),
            ({"state": "failed", "error": "reauth_required"}, "Failed", Tone.BAD),
            ({"dead_letter_count": 2}, "Incomplete", Tone.WAITING),
            ({"verification": {"missing": 1, "extra": 0, "drift": 2}}, "Verified", Tone.GOOD),
            ({"count": "all"}, "Up to date", Tone.GOOD),
        ],
    )
    def test_of_syncs_have_a_word_and_a_tone(self, fields: dict[str, object], word: str, tone: Tone) -> None:
        state = sync_state(sync(**fields), MOMENT)
        assert (state.word, state.tone) == (word, tone)
        assert state.sentence

    @pytest.mark.parametrize(
        ("reason", "tone"),
        [("failing", Tone.BAD), ("gone", Tone.BAD), ("requested", Tone.QUIET), ("brand_new", Tone.BAD)],
    )
    def test_of_disabled_webhooks_alarm_unless_it_was_on_purpose(self, reason: str, tone: Tone) -> None:
        state = webhook_state({"status": "disabled", "disabled_reason": reason, "failing_since": None})
        assert (state.word, state.tone) == ("Disabled", tone)
        assert state.sentence

    def test_explain_errors_that_are_not_known_yet(self) -> None:
        assert explain("brand_new", None)[0] == "It failed: brand new."


class TestProblems:
    def test_say_what_to_do(self) -> None:
        assert problems.explain(UnreachableError()).title == "Mailroom does not answer"
        late = RefusedError(status=429, code="too_many_requests", detail="Slow.", request_id="r", retry_after=7)
        assert problems.explain(late).remedy == "Try again in 7 seconds."
        unknown = RefusedError(status=400, code="brand_new", detail="New.", request_id="r")
        assert (problems.explain(unknown).detail, problems.explain(unknown).code) == ("New.", "brand_new")

    def test_are_codes_of_the_api(self) -> None:
        own = {"gateway_unreachable", "sandbox_unreachable", "sandbox_refused"}
        assert problems._WORDS.keys() - own <= ERROR_CODES.keys()
