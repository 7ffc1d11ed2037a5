"""The choice of calls: a get of a thread costs less than the gets of several of its messages."""

from collections.abc import Sequence

from services.mail.model import FetchItem
from services.mail.providers.base import Get
from services.mail.providers.limits import CallCosts


def plan_gets(queued: Sequence[FetchItem], *, costs: CallCosts, most_gets: int, most_units: int) -> list[Get]:
    """Return the calls that fetch the first messages of `queued`, in order and within both limits; at least one.

    An item's `siblings` are the queued messages of its thread, itself included.
    """
    gets: list[Get] = []
    planned: set[str] = set()
    units = 0
    for item in queued:
        if item.external_id in planned:
            continue
        get = _cheapest(item, costs=costs, most_units=most_units)
        if gets and (len(gets) >= most_gets or units + get.units > most_units):
            break
        gets.append(get)
        planned.update(get.external_ids)
        units += get.units
    return gets


def in_one_way(queued: Sequence[FetchItem]) -> tuple[Sequence[FetchItem], bool]:
    """Return the messages fetched in the same way as the first, and whether each of them needs a call of its own.

    A message needs its own call after one in which the provider did not have it, or which failed. Live messages share
    their calls with no others, whose units they would have to wait for. Where calls fail, few can be made at a time:
    messages with fewer failed attempts come first, and of those with as many the last ones, which were left out.
    """
    singly = bool(queued) and queued[0].is_alone
    lane = queued[0].lane if queued else None
    chosen = [item for item in queued if item.is_alone is singly and item.lane is lane]
    if singly:
        chosen.reverse()
        chosen.sort(key=lambda item: item.attempts)
    return chosen, singly


def _cheapest(item: FetchItem, *, costs: CallCosts, most_units: int) -> Get:
    thread = costs.fetch_thread
    if item.thread_id is None or thread is None or thread > most_units or len(item.siblings) * costs.fetch <= thread:
        return Get(external_ids=(item.external_id,), thread_id=None, units=costs.fetch)
    return Get(external_ids=item.siblings, thread_id=item.thread_id, units=thread)
