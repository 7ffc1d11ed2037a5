"""Log lines about a request have its id, and lead to its trace."""

import json
import secrets
from typing import Any

import httpx
import pytest

from tests.support.e2e.people import Provider, consent
from tests.support.e2e.running_stack import RunningStack


def refused_sign_in(http: httpx.Client, provider: Provider) -> tuple[str, str]:
    """Refuse consent, which auth logs. Returns the ids of the request and of its trace."""
    callback = consent(http, provider.new_user(), decision="deny")
    request, trace = f"browser-{secrets.token_hex(8)}", secrets.token_hex(16)
    headers = {"X-Request-Id": request, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    answer = http.get(callback, headers=headers)
    assert answer.headers["x-request-id"] == request
    return request, trace


def lines_about(request: str, stack: RunningStack, name: str) -> list[dict[str, Any]]:
    """Return a process's log lines about a request."""
    lines = stack.log_file(name).read_text().splitlines()
    return [line for text in lines if request in text and (line := json.loads(text))["request_id"] == request]


class TestALine:
    @pytest.mark.parametrize(("name", "event"), [("gateway", "answered"), ("auth", "sign-in refused")])
    def test_names_the_request_and_the_trace_in_every_process(
        self, stack: RunningStack, http: httpx.Client, provider: Provider, name: str, event: str
    ) -> None:
        request, trace = refused_sign_in(http, provider)
        [line] = lines_about(request, stack, name)
        assert (line["event"], line["service"], line["trace_id"]) == (event, name, trace)
