"""Pages that lead in a circle, or never end."""

import hashlib

from services.mail.model import PageTrail
from services.mail.providers.errors import ProviderUnavailableError

# Pages that are remembered beside the marked one: a circle of as many is noticed where it closes.
_REMEMBERED = 16


class EndlessPagesError(ProviderUnavailableError):
    """A provider's pages lead back to an earlier one, or show nothing new for ever."""

    reason = "endless_pages"


def follow(trail: PageTrail, next_page_token: str) -> PageTrail:
    """Return the trail with the next page. Raises EndlessPagesError if that page was listed before.

    Every page whose number is a power of two is marked until the next one: the walk meets the mark again in a circle of
    any length, after at most three times the pages that it shows (Brent's algorithm).
    """
    digest = int.from_bytes(hashlib.sha256(next_page_token.encode()).digest()[:8], signed=True)
    if digest in trail.digests:
        raise EndlessPagesError("the page after this one was listed before")
    pages = trail.pages + 1
    mark = digest if is_power_of_two(pages) else trail.digests[0]
    return PageTrail(pages=pages, digests=(mark, *trail.digests[1:][1 - _REMEMBERED :], digest))


def is_power_of_two(number: int) -> bool:
    """Return whether the number is 1, 2, 4, 8 and so on."""
    return number & (number - 1) == 0
