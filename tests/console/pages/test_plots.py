"""Plots of counts by the hour."""

from services.console.pages.plots import HEIGHT, plot
from tests.support.console.fake_gateway import Json


def hours(*counts: tuple[int, int]) -> list[Json]:
    return [
        {"hour": f"2026-11-30T{n:02}:00:00.000Z", "one": one, "other": other} for n, (one, other) in enumerate(counts)
    ]


def drawn(*counts: tuple[int, int]) -> list[list[tuple[str, float, float]]]:
    """Return name, upper end and height of the parts of each bar."""
    made = plot("T", hours(*counts), unit="x", counts={"a": lambda each: each["one"], "b": lambda each: each["other"]})
    return [[(part.name, part.y, part.height) for part in bar.parts] for bar in made.bars]


def test_bars_are_as_high_as_their_part_of_the_highest_one() -> None:
    assert drawn((4, 0), (2, 0), (0, 0)) == [[("a", 0.0, HEIGHT)], [("a", HEIGHT / 2, HEIGHT / 2)], []]


def test_parts_stand_on_one_another() -> None:
    assert drawn((3, 1)) == [[("a", HEIGHT / 4, 3 * HEIGHT / 4), ("b", 0.0, HEIGHT / 4)]]


def test_little_can_be_seen_beside_much_and_leaves_the_plot_nowhere() -> None:
    [[_, (_, top, height)], [(_, _, least)]] = drawn((1_000_000, 1), (1, 0))
    assert least == height > 1
    assert top >= 0
