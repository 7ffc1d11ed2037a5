"""When the ends of calls are reported, and to whom."""

import asyncio
from dataclasses import dataclass, field

import pytest

from services.mail.provider_access.quota_scripts import NOT_USED
from services.mail.provider_access.settlement import Reports, Settlement, Taken

TAKEN = Taken(identity="1", units=20, slots=(1, 2))


@dataclass
class Sent:
    """The reports that were sent without a take, as units by identity."""

    units: list[dict[str, list[int]]] = field(default_factory=list)
    any: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, reports: Reports) -> None:
        self.units.append(
            {identity: [each.taken.units for each in some] for (_, identity), some in reports.items() if some}
        )
        self.any.set()


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def settlement(sent: Sent) -> Settlement:
    return Settlement(sent.send, monotonic=lambda: 100.0)


class TestReport:
    async def test_is_sent_after_a_moment(self, settlement: Settlement, sent: Sent) -> None:
        settlement.report(TAKEN, used=True)
        await asyncio.wait_for(sent.any.wait(), 20)
        assert sent.units == [{"1": [20]}]

    async def test_goes_with_a_take_instead(self, settlement: Settlement, sent: Sent) -> None:
        settlement.report(TAKEN, used=True)
        settlement.report(TAKEN, used=False)
        drawn = settlement.draw("units", "1")
        assert [each.settled(101.5).ago for each in drawn] == [1.5, NOT_USED]
        await settlement.flush()
        assert sent.units == []

    async def test_that_no_take_told_is_sent_with_the_later_ones(self, settlement: Settlement, sent: Sent) -> None:
        settlement.report(TAKEN, used=True)
        drawn = settlement.draw("units", "1")
        first, second = TAKEN.split(5)
        settlement.report(first, used=True)
        settlement.report(second, used=True)
        settlement.put_back("units", "1", drawn)
        await settlement.flush()
        assert sent.units == [{"1": [20, 5, 15]}]


class TestClose:
    async def test_leaves_no_report_for_later(self, settlement: Settlement, sent: Sent) -> None:
        """It would open a connection after Redis was closed."""
        settlement.report(TAKEN, used=True)
        await settlement.close()
        assert sent.units == [{"1": [20]}]
        settlement.report(TAKEN, used=True)
        assert settlement._flush_handle is None
