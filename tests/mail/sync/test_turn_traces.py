"""The traces of a worker's turns."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_trace_id

from services.kit.observe.tracing import start_span
from services.mail.sync.turns.metrics import TurnMetrics
from tests.mail.conftest import OpenStage
from tests.support.kit.recorded import Recorded
from tests.support.mail.stage import Stage


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


async def request(s: Stage, recorded: Recorded) -> str:
    """Request a sync with a trace; return the trace id."""
    with start_span(recorded.tracer, "request") as span:
        await s.request()
    return format_trace_id(span.get_span_context().trace_id)


async def turn(s: Stage, recorded: Recorded, *, outcome: str = "done") -> ReadableSpan:
    async with TurnMetrics(recorded.telemetry).turn(s.pool, (await s.mailbox()).mailbox_id) as observed:
        observed.outcome = outcome
    return recorded.spans[-1]


def trace_of(span: ReadableSpan) -> str:
    return format_trace_id(span.context.trace_id)


class TestTurn:
    async def test_continues_the_trace_of_the_sync_request(self, stage: OpenStage, recorded: Recorded) -> None:
        async with stage(workers=0) as s:
            asked = await request(s, recorded)
            found = await turn(s, recorded)
        assert (trace_of(found), found.links) == (asked, ())

    async def test_continues_the_latest_request_that_widened_the_sync(
        self, stage: OpenStage, recorded: Recorded
    ) -> None:
        async with stage(workers=0) as s:
            await request(s, recorded)
            asked = await request(s, recorded)
            await s.request()
            assert trace_of(await turn(s, recorded)) == asked

    async def test_of_a_long_backfill_has_its_own_trace_with_a_link(self, stage: OpenStage, recorded: Recorded) -> None:
        async with stage(workers=0) as s:
            asked = await request(s, recorded)
            await s.pool.execute("UPDATE syncs SET created_at = now() - interval '2 minutes'")
            found = await turn(s, recorded)
        assert trace_of(found) != asked
        assert [format_trace_id(link.context.trace_id) for link in found.links] == [asked]

    async def test_without_a_request_has_its_own_trace(self, stage: OpenStage, recorded: Recorded) -> None:
        async with stage(workers=0) as s:
            await s.request()
            found = await turn(s, recorded)
        assert (found.parent, found.links) == (None, ())

    async def test_records_its_outcome(self, stage: OpenStage, recorded: Recorded) -> None:
        async with stage(workers=0) as s:
            await request(s, recorded)
            failed = await turn(s, recorded, outcome="provider_unavailable")
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.attributes is not None
        assert failed.attributes["mailroom.outcome"] == "provider_unavailable"
