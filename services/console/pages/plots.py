"""Small plots of counts by the hour, with what they show in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.console.gateway.client import Json
from services.console.words.amounts import counted, number
from services.console.words.times import parse_time

# Units of the drawing: of an hour and of the bar in it, of the tallest bar, and of the lowest one that can be seen.
_STEP, _WIDTH = 10.0, 8.0
HEIGHT = 48.0
_LEAST = 2.0

type Count = Callable[[Json], int]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar, from its upper end down; `name` is its class."""

    name: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour: its place, its pieces from the ground up, and its count in words."""

    x: float
    parts: tuple[Part, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars with a heading, the sum, and a sentence that says what they show."""

    title: str
    total: str
    words: str
    bars: tuple[Bar, ...]
    bar_width: float = _WIDTH

    @property
    def width(self) -> float:
        """The width of the drawing."""
        return _STEP * len(self.bars)


def plot(title: str, hours: Sequence[Json], *, unit: str, units: str = "", counts: dict[str, Count]) -> Plot:
    """Return the plot of one count, or of several that are piled up; `unit` names one of what is counted."""
    values = [{name: count(hour) for name, count in counts.items()} for hour in hours]
    sums = [sum(each.values()) for each in values]
    top = max(sums, default=0)
    bars = tuple(
        Bar(place * _STEP, tuple(_parts(value, top)), f"{_span(hour)}: {counted(sums[place], unit, units)}")
        for place, (hour, value) in enumerate(zip(hours, values, strict=True))
    )
    total = sum(sums)
    words = f"{counted(total, unit, units)} in {counted(len(sums), 'hour')}"
    if top:
        words += f", most of them {_span(hours[sums.index(top)])}: {number(top)}"
    return Plot(title, number(total), f"{words}.", bars)


def _parts(value: dict[str, int], top: int) -> list[Part]:
    parts: list[Part] = []
    ground = HEIGHT
    for name, count in value.items():
        if count:
            height = max(_LEAST, HEIGHT * count / top)
            ground = max(0.0, ground - height)
            parts.append(Part(name, round(ground, 2), round(height, 2)))
    return parts


def _span(hour: Json) -> str:
    begin = parse_time(hour["hour"])
    return f"{begin:%H}:00 to {(begin.hour + 1) % 24:02}:00 UTC"
