"""Export of the whole large mailbox as one download."""

import json
import time

from benchmarks.read_ways.stage import Stage
from tests.e2e.test_downloads import MEGABYTE, growth

# Three times Gmail's largest attachment: an export holds about a megabyte, or one message.
LIMIT_MB = 75


def measure(stage: Stage) -> dict[str, float]:
    """Return the growth in MB of each process. Ends the benchmark unless every message came."""
    person = stage.people[0]
    expected = next(address["message_count"] for address in person.get("/emails/addresses").json()["addresses"])
    began, lines = time.perf_counter(), 0
    headers = {"Authorization": f"Bearer {person.token}"}
    with growth(stage.pids) as grown:
        query = {"user_email": person.email}
        with person.http.stream("GET", "/emails/export", params=query, headers=headers) as answer:
            for piece in answer.iter_bytes(1 << 20):
                lines += piece.count(b"\n")
    if lines != expected:
        raise SystemExit(f"{lines} of {expected} messages were exported")
    megabytes = {name: round(size / MEGABYTE, 1) for name, size in grown.items()}
    seconds = round(time.perf_counter() - began, 1)
    print(json.dumps({"exported": lines, "seconds": seconds, "grown_mb": megabytes}), flush=True)
    return megabytes
