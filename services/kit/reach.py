"""Whether this process reaches addresses: `python -m services.kit.reach URL...`.

Prints by how many seconds this machine's clock differs from theirs at most. Any HTTP status counts as reached. Exits
with 1 and the reason otherwise.
"""

import sys
import time
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError
from urllib.request import urlopen

_SECONDS = 10


def seconds_off(url: str) -> int:
    """Return by how many seconds this machine's clock is ahead of that of `url`. Raises OSError."""
    try:
        with urlopen(url, timeout=_SECONDS) as response:  # noqa: S310 - the operator's own setting
            date = response.headers["Date"]
    except HTTPError as error:
        date = error.headers["Date"]
    return 0 if date is None else round(time.time() - parsedate_to_datetime(date).timestamp())


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
