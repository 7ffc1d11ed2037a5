"""Requests generated from the OpenAPI document. Every response must match its schema and be no 5xx."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

_CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Longer waits add no proof.
_PREFERENCES = st.sampled_from(["wait=0", "wait=1", "wait=-1", "wait=x, respond-async", ";,="])
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
_MAILBOX = {"account_id", "email", "mailbox_id", "user_email"}
_PLACE = re.compile(r"(\w+/\{(\w+)\})")
# Its responses do not end: tests/gateway/routes/test_change_stream.py.
_ENDLESS = "GET /emails/changes/stream"
_REQUEST_SECONDS = 60
_LAST_REQUESTS = 10


@dataclass
class Findings:
    """Requests sent, and each kind of failure with its first example."""

    requests: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def succeeded(self) -> set[str]:
        """The callers with operations that returned 2xx or 3xx at least once."""
        return {label for label, status in self.statuses if status < 400}

    def __str__(self) -> str:
        return "\n\n".join(f"{key}\n{example}" for key, example in self.failures.items())


@dataclass(frozen=True)
class Caller:
    """A caller: the name in reports, the token if any, and values of existing resources.

    `known` maps names of parameters and fields, and ends of paths (`syncs/{id}`), to values that many requests use.
    """

    name: str
    token: str | None = None
    known: Mapping[str, list[Any]] = field(default_factory=dict)


class Fuzzer:
    """Sends generated requests to every operation of the gateway."""

    def __init__(self, url: str, *, seed: int) -> None:
        self._url = url
        self._seed = seed
        self._schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self._session = requests.Session()
        self._session.trust_env = False
        self.findings = Findings()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def operations(self) -> list[Any]:
        """Return all operations, those with the fewest parameters first: they run out of new requests."""
        found: list[Any] = [result.ok() for result in self._schema.get_all_operations()]  # type: ignore[union-attr]
        ending = [operation for operation in found if operation.label != _ENDLESS]
        return sorted(ending, key=lambda operation: (len(list(operation.iter_parameters())), operation.label))

    def run(self, callers: list[Caller], *, at_least: int, last: tuple[str, ...] = ()) -> None:
        """Distribute `at_least` requests over operations, callers, and valid and invalid requests.

        The operations labelled in `last` come at the end, in that order, for they end resources that the others need.
        """
        operations = self.operations()
        assert set(last) <= {operation.label for operation in operations}
        before = [operation for operation in operations if operation.label not in last]
        while self.findings.requests < at_least:
            combinations = list(product(before, _MODES))
            for done, (operation, mode) in enumerate(combinations):
                left = at_least - self.findings.requests
                self.ask(operation, callers, mode, n=max(1, -(-left // (len(combinations) - done))))
            self._seed += 1
        for label in last:
            [operation] = [operation for operation in operations if operation.label == label]
            for mode in _MODES:
                self.ask(operation, callers, mode, n=_LAST_REQUESTS)

    def ask(self, operation: Any, callers: list[Caller], mode: GenerationMode, *, n: int) -> None:
        """Send up to n different requests of one operation."""
        requests_of_mode = operation.as_strategy(generation_mode=mode)

        @hypothesis.seed(self._seed)
        @hypothesis.settings(
            max_examples=n,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(data=st.data())
        def send(data: st.DataObject) -> None:
            case = data.draw(requests_of_mode)
            caller = data.draw(st.sampled_from(callers))
            self._fill_in(case, caller, data)
            self._send(case, caller)

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            # No invalid form: an operation without parameters and body.
            assert mode is GenerationMode.NEGATIVE

    def _fill_in(self, case: Any, caller: Caller, data: st.DataObject) -> None:
        for place, name in _PLACE.findall(case.operation.path):
            values = caller.known.get(place, [])
            if values and case.path_parameters and data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(values))
        in_query = {parameter.name for parameter in case.operation.query}
        for part, names in ((case.query, in_query), (case.body, set())):
            if isinstance(part, dict) and data.draw(st.booleans()):
                if part is case.query and data.draw(st.booleans()):
                    # All query parameters are optional, and one random filter would hide the effect of the others.
                    part.clear()
                _put_known(part, names | part.keys(), caller, data)
        for name in case.headers or {}:
            if name.lower() == "prefer":
                case.headers[name] = data.draw(_PREFERENCES)

    def _send(self, case: Any, caller: Caller) -> None:
        headers = {} if caller.token is None else {"Authorization": f"Bearer {caller.token}"}
        answer = case.call(
            base_url=self._url,
            session=self._session,
            headers=headers,
            allow_redirects=False,
            timeout=_REQUEST_SECONDS,
        )
        label = f"{caller.name}: {case.operation.label}"
        self.findings.requests += 1
        self.findings.statuses[label, answer.status_code] += 1
        try:
            case.validate_response(answer, checks=_CHECKS)
        except FailureGroup as failed:
            for failure in failed.exceptions:
                example = f"{failure}\n{answer.content[:500]!r}\n{case.as_curl_command(headers)}"
                self.findings.failures.setdefault((label, answer.status_code, type(failure).__name__), example)


def _put_known(part: dict[str, Any], names: set[str], caller: Caller, data: st.DataObject) -> None:
    for name in sorted(names & caller.known.keys()):
        if name in _MAILBOX or not data.draw(st.integers(0, 3)):
            part[name] = data.draw(st.sampled_from(caller.known[name]))
    # A request names its mailbox in one way.
    for name in data.draw(st.permutations(sorted(part.keys() & _MAILBOX)))[1:]:
        del part[name]
