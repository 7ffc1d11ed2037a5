"""docs/errors.md lists exactly the codes that a client can get: tests/e2e/test_error_codes.py gets each of them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from services.gateway.errors import FRAMEWORK_PROBLEMS, INVALID_REQUEST
from services.gateway.http.cors import CORS_NOT_ALLOWED
from services.gateway.requests.routing import UNKNOWN_ENCODING
from services.kit.errors import Kind
from services.kit.http.bounds import Refusal

# Reasons between the services, which no client of the REST API can get, and why.
INTERNAL_REASONS = {
    "invalid_page_size": "the gateway checks limit",
    "invalid_max_age": "the gateway checks max_age",
    "invalid_time": "the gateway checks after and before",
    "invalid_count": "the gateway checks count",
    "invalid_external_user_id": "the gateway checks external_user_id",
    "invalid_user_id": "access tokens are ours, and name users by their UUIDs",
}
ROOT = Path(__file__).parents[2]
CATALOGUE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")


def documented() -> dict[str, int]:
    """Return the status of each code, from the catalogue's first table."""
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", CATALOGUE, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a code is listed twice"
    return {code: int(status) for code, status in rows}


@cache
def raised() -> list[tuple[str, int, str]]:
    """Yield reason (as a regular expression), status and place of every AppError in the source."""
    return list(_raised())


def _raised() -> Iterator[tuple[str, int, str]]:
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="AppError"),
                    args=[ast.Attribute(value=ast.Name(id="Kind"), attr=kind), reason, *_],
                ):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield pattern_of(reason, place), Kind[kind].http_status.value, place


def pattern_of(reason: ast.expr, place: str) -> str:
    """Return the pattern of a reason; formatted values match any word."""
    match reason:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(str(value.value) if isinstance(value, ast.Constant) else r"\w+" for value in values)
    raise AssertionError(f"{place}: the reason must be written there, so that it can be found")


def promised() -> set[str]:
    """Return the reasons that the contracts name with their RPCs."""
    statuses = "|".join(kind.grpc_status.name for kind in Kind)
    found: set[str] = set()
    for path in (ROOT / "protos/mailroom").rglob("*.proto"):
        for line in path.read_text(encoding="utf-8").splitlines():
            for reasons in re.findall(rf"(?:{statuses}) ((?:[a-z_]+(?:, )?)+)", line):
                found |= set(reasons.split(", "))
    return found


def framework() -> dict[str, int]:
    """Return the codes of the gateway itself, with their status."""
    own = {code: status.value for status, (code, _) in FRAMEWORK_PROBLEMS.items()}
    refusals = {refusal.code: refusal.status.value for refusal in Refusal}
    return own | refusals | {INVALID_REQUEST: 400, CORS_NOT_ALLOWED: 400, UNKNOWN_ENCODING: 415}


class TestCatalogue:
    def test_lists_every_code_with_its_status(self) -> None:
        known = documented()
        own = ((code, status, "services/gateway/errors.py") for code, status in framework().items())
        missing = [
            f"{place}: {reason} ({status})"
            for reason, status, place in chain(raised(), own)
            if reason not in INTERNAL_REASONS
            if not any(re.fullmatch(reason, code) and known[code] == status for code in known)
        ]
        assert missing == []

    def test_lists_every_reason_of_the_contracts(self) -> None:
        assert promised() - documented().keys() - INTERNAL_REASONS.keys() == set()

    def test_hides_only_reasons_that_exist(self) -> None:
        given = [reason for reason, _, _ in raised()]
        assert [code for code in INTERNAL_REASONS if not any(re.fullmatch(reason, code) for reason in given)] == []
        assert INTERNAL_REASONS.keys().isdisjoint(documented())

    def test_lists_nothing_else(self) -> None:
        given = [reason for reason, _, _ in raised()]
        unknown = documented().keys() - promised() - framework().keys()
        assert [code for code in unknown if not any(re.fullmatch(reason, code) for reason in given)] == []
