"""Choosing calls: where a thread holds several wanted messages, one get of the thread costs less than theirs."""

from collections.abc import Sequence

from services.mail.model import FetchItem
from services.mail.providers.base import Get, UnitCosts


def plan_gets(queued: Sequence[FetchItem], *, costs: UnitCosts, most_gets: int, most_units: int) -> list[Get]:
    """The calls that fetch the first of `queued`, in its order, within both limits; always at least one.

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
    """Those of `queued` that are fetched in the same way as the first, and whether that is each by a call of its own.

    A call of its own is what a message takes that the provider did not have when it was asked for among others.
    """
    singly = bool(queued) and queued[0].is_doubted
    return [item for item in queued if item.is_doubted is singly], singly


def _cheapest(item: FetchItem, *, costs: UnitCosts, most_units: int) -> Get:
    if item.thread_id is not None and costs.thread <= most_units and len(item.siblings) * costs.get > costs.thread:
        return Get(external_ids=item.siblings, thread_id=item.thread_id, units=costs.thread)
    return Get(external_ids=(item.external_id,), thread_id=None, units=costs.get)
