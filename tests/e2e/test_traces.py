"""All work that a request causes, across processes and the schedule, is one trace."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from tests.support.e2e.people import Person
from tests.support.e2e.trace_collector import TraceCollector

SECONDS = 20


def traced_sync(person: Person) -> tuple[str, str]:
    """Complete a sync within a trace of the client. Returns the ids of that trace and its span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    body = {"email": person.email}
    answer = person.post("/emails/sync", body, Prefer="wait=30", traceparent=f"00-{trace}-{span}-01")
    assert answer.json()["state"] == "completed"
    return trace, span


def ended(traces: TraceCollector, trace: str, client_span: str) -> list[dict[str, Any]]:
    """Return the spans of a trace once the gateway's, which ends last, and all parents have arrived."""
    deadline = time.monotonic() + SECONDS
    while True:
        spans = traces.spans(trace)
        missing = {span["parent"] for span in spans} - {span["id"] for span in spans} - {client_span}
        names = {span["name"] for span in spans}
        if not missing and {"POST /emails/sync", "turn with a mailbox"} <= names:
            return spans
        assert time.monotonic() < deadline, [span for span in spans if span["parent"] in missing]
        time.sleep(0.05)


class TestASync:
    def test_is_one_trace_of_all_four_processes(
        self, new_person: Callable[..., Person], traces: TraceCollector
    ) -> None:
        trace, client_span = traced_sync(new_person(messages=5))
        spans = ended(traces, trace, client_span)
        names = {(span["service"], span["name"]) for span in spans}
        assert {
            ("gateway", "POST /emails/sync"),
            ("mail", "mailroom.mail.v1.SyncService/StartSync"),
            ("auth", "mailroom.auth.v1.ProviderTokenService/GetAccessToken"),
            ("mail-worker", "turn with a mailbox"),
            ("mail-worker", "gmail.messages.list"),
            ("mail-worker", "gmail.batch"),
            ("auth", "postgres"),
            ("mail", "postgres"),
            ("mail-worker", "postgres"),
        } <= names
