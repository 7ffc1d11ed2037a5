"""What the application does: its mailboxes by state, and what it used in the last day."""

from dataclasses import replace

from fastapi import APIRouter, Response

from services.console.gateway import calls
from services.console.gateway.client import Json
from services.console.pages.plots import Plot, plot
from services.console.pages.visit import Visit, Visited, Watched
from services.console.words.states import MAILBOX_STATES, State, Tone

router = APIRouter()

_HOURS = 24


@router.get("/")
async def begin(visit: Visited) -> Response:
    """Lead to the overview."""
    return visit.go("/overview")


@router.get("/overview")
async def show_overview(visit: Visited) -> Response:
    """Show the application at a glance."""
    return visit.show("overview.html", **await _usage(visit))


@router.get("/overview/usage")
async def show_usage(visit: Watched) -> Response:
    """Show the counts as they are now."""
    return visit.show("parts/usage.html", **await _usage(visit))


async def _usage(visit: Visit) -> Json:
    usage, failure = await visit.attempt(calls.get_usage(hours=_HOURS))
    if usage is None:
        return {"usage": None, "failure": failure, "plots": (), "states": (), "count": 0, "is_unused": False}
    count, plots = sum(usage["mailboxes"].values()), _plots(usage["hours"])
    states = [_counted(name, state, usage["mailboxes"][name]) for name, state in MAILBOX_STATES.items()]
    return {
        "usage": usage,
        "failure": None,
        "plots": plots,
        "states": states,
        "count": count,
        # Without a mailbox now or lately there is nothing to show but what to do first.
        "is_unused": not count and not any(bar.parts for each in plots for bar in each.bars),
    }


def _counted(name: str, state: State, number_of: int) -> tuple[str, State, int]:
    """Return a state with its count: without a mailbox in it, it is no alarm."""
    return name, state if number_of else replace(state, tone=Tone.QUIET), number_of


def _plots(hours: list[Json]) -> list[Plot]:
    return [
        plot("Messages stored", hours, unit="message", counts={"good": lambda hour: int(hour["messages_stored"])}),
        plot("Changes", hours, unit="change", counts={"good": lambda hour: int(hour["changes"])}),
        plot(
            "Deliveries",
            hours,
            unit="try",
            units="tries",
            counts={
                "good": lambda hour: int(hour["deliveries"]["delivered"]),
                "bad": lambda hour: int(hour["deliveries"]["failed"] + hour["deliveries"]["parked"]),
            },
        ),
        plot("Quota spent", hours, unit="unit", counts={"good": lambda hour: int(hour["provider_units"])}),
    ]
