"""Charts as accessible SVG: a title and a description that say it in words, and a table with every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

#: Size of a chart in its own units.
WIDTH, HEIGHT, EDGE = 600, 160, 10


@dataclass(frozen=True)
class Bar:
    """One bar, and in front of it that part of it which is told apart."""

    x: float
    width: float
    y: float
    height: float
    part_y: float
    part_height: float


@dataclass(frozen=True)
class Row:
    """A bar in words: its label, its figure and that of its part, as they are read."""

    label: str
    value: str
    part: str


@dataclass(frozen=True)
class Chart:
    """What `charts/bars.html` draws. `name` is unique on the page."""

    name: str
    title: str
    description: str
    #: Headings of the table: of a label, a figure, and its part.
    headings: tuple[str, str, str]
    bars: Sequence[Bar]
    rows: Sequence[Row]
    width: int = WIDTH
    height: int = HEIGHT
    #: Where the bars stand.
    base: int = HEIGHT - EDGE


def bars(
    *,
    name: str,
    title: str,
    description: str,
    headings: tuple[str, str, str],
    values: Sequence[tuple[Decimal, Decimal]],
    rows: Sequence[Row],
) -> Chart:
    """Return a chart of one bar for each (figure, its part), from left to right, with a row for each."""
    top = max([value for value, _ in values] + [Decimal(0)])
    step = (WIDTH - 2 * EDGE) / max(len(values), 1)

    def height(value: Decimal) -> float:
        return round(float(value / top) * (HEIGHT - 2 * EDGE), 1) if top > 0 else 0.0

    def top_of(value: Decimal) -> float:
        return round(HEIGHT - EDGE - height(value), 1)

    return Chart(
        name=name,
        title=title,
        description=description,
        headings=headings,
        bars=[
            Bar(
                x=round(EDGE + at * step, 1),
                width=round(step * 0.8, 1),
                y=top_of(value),
                height=height(value),
                part_y=top_of(part),
                part_height=height(part),
            )
            for at, (value, part) in enumerate(values)
        ],
        rows=rows,
    )
