"""mailroom doctor."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from mailroom_cli import exit_codes
from mailroom_cli.context import Chosen, chosen

if TYPE_CHECKING:
    import httpx

    from mailroom_cli.profile import Profile

# Seconds by which the clocks may differ: tokens are checked with 30.
_CLOCK = 20
# Seconds by which a clock is ahead of its Date at most: that has whole ones, and servers make it once a second.
_DATE_LAG = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What was examined, and what to do about it; no remedy means that it is well."""

    name: str
    text: str
    remedy: str | None = None


def doctor(context: typer.Context) -> None:
    """Examine the way to the server, the clocks and the sign-in. Ends with 1 if something needs a remedy."""
    options = chosen(context)
    found = list(_findings(options))
    if options.output.as_json:
        for finding in found:
            options.output.line(asdict(finding))
    else:
        for finding in found:
            mark, remedy = ("ok  ", "") if finding.remedy is None else ("FAIL", f"; {finding.remedy}")
            options.output.text(f"{mark}  {finding.name}: {finding.text}{remedy}")
    if any(finding.remedy for finding in found):
        raise typer.Exit(exit_codes.FAILED)


def _findings(options: Chosen) -> Iterator[Finding]:
    import httpx

    profile = options.profile()
    asked = time.time()
    try:
        response = httpx.get(f"{profile.url}/readyz", timeout=10)
    except (httpx.RequestError, httpx.InvalidURL) as error:
        yield Finding("server", f"{profile.url} does not answer ({error})", "is it running? is --url right?")
        return
    yield _readiness(profile, response)
    yield _clock(response.headers.get("Date"), asked=asked, answered=time.time())
    yield _sign_in(options)


def _readiness(profile: "Profile", response: "httpx.Response") -> Finding:
    if response.is_success:
        return Finding("server", f"{profile.url} serves requests")
    if response.status_code == 503:
        return Finding("server", f"{profile.url} is not ready", "see its log, and /readyz of its admin port")
    return Finding("server", f"{profile.url} answers {response.status_code}", "is it Mailroom? is a proxy in between?")


def _clock(date: str | None, *, asked: float, answered: float) -> Finding:
    if date is None:
        return Finding("clock", "the server tells no time")
    off = seconds_ahead(date, asked=asked, answered=answered)
    remedy = None if abs(off) <= _CLOCK else "synchronize it: tokens seem expired or not yet valid"
    return Finding("clock", f"{off} s off the server's", remedy)


def seconds_ahead(date: str, *, asked: float, answered: float) -> int:
    """Return by how many seconds this clock is ahead of a server's at least, negative if it is behind.

    `date` is the header of a response; the times of request and response are in seconds since 1970, of this clock.
    """
    from email.utils import parsedate_to_datetime

    earliest = parsedate_to_datetime(date).timestamp()
    return round(max(0.0, asked - (earliest + _DATE_LAG)) + min(0.0, answered - earliest))


def _sign_in(options: Chosen) -> Finding:
    from mailroom_client import MailroomError

    if options.profile().token is None:
        return Finding("sign-in", "none", "mailroom login")
    with options.open_client() as client:
        try:
            boxes = list(client.mailboxes.list())
        except MailroomError as error:
            return Finding("sign-in", str(error), "mailroom login")
    broken = [box.email for box in boxes if box.status != "active"]
    remedy = f"sign in again at the provider: {', '.join(broken)}" if broken else None
    return Finding("sign-in", f"valid; {len(boxes)} mailboxes", remedy)
