"""Whether this process reaches addresses: `python -m services.kit.reach URL...`.

Prints by how many seconds this machine's clock differs from theirs at least. Any HTTP status counts as reached. Exits
with 1 and the reason otherwise.
"""

import sys
import time
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError
from urllib.request import urlopen

_SECONDS = 10
# Seconds by which a clock is ahead of its Date at most: that has whole ones, and servers make it once a second.
_DATE_LAG = 2


def seconds_off(url: str) -> int:
    """Return by how many seconds this machine's clock is ahead of that of `url` at least. Raises OSError."""
    asked = time.time()
    try:
        with urlopen(url, timeout=_SECONDS) as response:  # noqa: S310 - the operator's own setting
            date = response.headers["Date"]
    except HTTPError as error:
        date = error.headers["Date"]
    return 0 if date is None else seconds_ahead(date, asked=asked, answered=time.time())


def seconds_ahead(date: str, *, asked: float, answered: float) -> int:
    """Return by how many seconds this clock is ahead of a server's at least, negative if it is behind.

    `date` is the header of a response; the times of request and response are in seconds since 1970, of this clock.
    """
    earliest = parsedate_to_datetime(date).timestamp()
    return round(max(0.0, asked - (earliest + _DATE_LAG)) + min(0.0, answered - earliest))


def main(urls: list[str]) -> None:
    """Print the largest difference, or the first failure."""
    differences = []
    for url in urls:
        try:
            differences.append(seconds_off(url))
        except OSError as error:
            sys.exit(f"{url}: {error}")
    sys.stdout.write(f"{max(differences, key=abs)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
