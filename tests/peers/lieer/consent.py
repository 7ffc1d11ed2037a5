"""A browser whose user consents: `consent.py EMAIL AUTHORIZATION_URL` submits the form and follows the redirect."""

import sys
from urllib.parse import urlencode
from urllib.request import urlopen


def main() -> None:
    """Consent, and load the page that the redirect leads to."""
    email, url = sys.argv[1:]
    form = urlencode({"account": email, "decision": "allow"}).encode()
    with urlopen(url, data=form, timeout=30) as page:  # noqa: S310 - the test's own address
        page.read()


if __name__ == "__main__":
    main()
