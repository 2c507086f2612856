"""Charts as SVG: readable on a phone at their own size, in the page's light and dark colours."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 350, 290  # of a phone's page, less its margins
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 40
ROW, LABEL, VALUE = 22, 112, 52  # of a chart of rows: height, width of names, of what is right
COLOURS = 8  # that compare.html.j2 has, as --series-0 and so on
# Lines and marks differ in shape, too, for print and for colour-blind readers.
DASHES = ("", "7 3", "2 3", "10 3 2 3", "4 4", "1 2", "12 4", "6 2 2 2")


@dataclass(frozen=True)
class Series:
    """A line: x, y, the number of its model, and how it is drawn."""

    points: Sequence[tuple[float, float]]
    model: int
    has_marks: bool = False
    is_faint: bool = False


@dataclass(frozen=True)
class Span:
    """A row of a chart: its values by model, or an estimate with its interval."""

    label: str
    value: str  # shown at the right
    marks: Sequence[tuple[int, float]]  # model, x
    line: tuple[float, float]
    kind: str = ""  # better, worse or ''


def line_chart(
    series: Iterable[Series],
    x: tuple[float, float],
    y: tuple[float, float],
    names: tuple[str, str],
    alt: str,
    *,
    has_diagonal: bool = False,
) -> Markup:
    """Return lines over the ranges `x` and `y`, whose axes are named; what is outside is cut."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    at_x, at_y = _scale(x, LEFT, right), _scale(y, bottom, TOP)
    parts = [
        Markup(
            '<clipPath id="{0}"><rect x="{1}" y="{2}" width="{3}" height="{4}"/></clipPath>'
        ).format(_id(alt), LEFT - 4, TOP - 4, right - LEFT + 8, bottom - TOP + 8)
    ]
    for value in ticks(*x):
        parts.append(_line(at_x(value), TOP, at_x(value), bottom, "grid"))
        parts.append(_text(at_x(value), bottom + 15, f"{value:g}", "middle"))
    for value in ticks(*y):
        parts.append(_line(LEFT, at_y(value), right, at_y(value), "grid"))
        parts.append(_text(LEFT - 5, at_y(value) + 4, f"{value:g}", "end"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 6, names[0], "middle"))
    parts.append(
        Markup('<g transform="rotate(-90)">{}</g>').format(
            _text(-(TOP + bottom) / 2, 12, names[1], "middle")
        )
    )
    parts.append(Markup('<g clip-path="url(#{})">').format(_id(alt)))
    if has_diagonal:
        low, high = max(x[0], y[0]), min(x[1], y[1])
        parts.append(_line(at_x(low), at_y(low), at_x(high), at_y(high), "zero"))
    for one in series:
        places = [(at_x(a), at_y(b)) for a, b in one.points]
        parts.append(_path(places, one))
        if one.has_marks or len(places) == 1:
            parts += [mark(one.model, *place) for place in places]
    return _svg([*parts, Markup("</g>")], HEIGHT, alt)


def row_chart(spans: Sequence[Span], x: tuple[float, float], name: str, alt: str) -> Markup:
    """Return a row for each span over the range `x` of the axis `name`."""
    left, right = LABEL + 4, WIDTH - VALUE
    bottom = TOP + ROW * len(spans)
    at = _scale(x, left, right)
    parts = [_line(at(v), TOP, at(v), bottom, "zero" if v == 0 else "grid") for v in ticks(*x)]
    parts += [_text(at(v), bottom + 15, f"{v:g}", "middle") for v in ticks(*x)]
    parts.append(_text((left + right) / 2, bottom + 32, name, "middle"))
    for number, span in enumerate(spans):
        y = TOP + ROW * (number + 0.5)
        parts.append(_text(LABEL - 4, y + 4, span.label, "end"))
        parts.append(_text(WIDTH - 2, y + 4, span.value, "end", span.kind))
        parts.append(_line(at(span.line[0]), y, at(span.line[1]), y, f"span {span.kind}"))
        parts += [mark(model, at(value), y) for model, value in span.marks]
    return _svg(parts, bottom + BOTTOM, alt)


def mark(model: int, x: float, y: float) -> Markup:
    """Return a model's mark: circle, square, diamond or triangle in its colour."""
    shape = model % 4
    d = (
        f"M{_n(x - 4)},{_n(y)}a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
        f"M{_n(x - 3.6)},{_n(y - 3.6)}h7.2v7.2h-7.2z",
        f"M{_n(x)},{_n(y - 5)}l5,5l-5,5l-5,-5z",
        f"M{_n(x)},{_n(y - 5)}l5,8.5h-10z",
    )[shape]
    return Markup('<path class="mark s{}" d="{}"/>').format(model % COLOURS, d)


def legend(model: int) -> Markup:
    """Return a piece of a model's line with its mark, for a legend."""
    one = Series([(1, 7), (33, 7)], model)
    parts = Markup("").join([_path(one.points, one), mark(model, 17, 7)])
    return Markup('<svg class="key" width="34" height="14" aria-hidden="true">{}</svg>').format(
        parts
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` + 1 round numbers from low to high."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def widened(values: Iterable[float], *, least: float = 1e-3) -> tuple[float, float]:
    """Return a range that has all finite values, with a margin."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    reach = max((max(finite) - min(finite)) * 0.06, least)
    return min(finite) - reach, max(finite) + reach


def _scale(domain: tuple[float, float], start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - domain[0]) / (domain[1] - domain[0]) * (end - start)


def _svg(parts: Sequence[Markup], height: float, alt: str) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, _n(height), alt, Markup("").join(parts))


def _path(places: Sequence[tuple[float, float]], one: Series) -> Markup:
    d = "M" + "L".join(f"{_n(x)},{_n(y)}" for x, y in places if math.isfinite(x + y))
    kind = " faint" if one.is_faint else ""
    return Markup('<path class="line s{}{}" stroke-dasharray="{}" d="{}"/>').format(
        one.model % COLOURS, kind, DASHES[one.model % len(DASHES)], d
    )


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> Markup:
    return Markup('<path class="{}" d="M{},{}L{},{}"/>').format(kind, *map(_n, (x, y, to_x, to_y)))


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    return Markup('<text class="axis {}" text-anchor="{}" x="{}" y="{}">{}</text>').format(
        kind, anchor, _n(x), _n(y), text
    )


def _n(value: float) -> str:
    """Return a coordinate without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


def _id(alt: str) -> str:
    return "c" + "".join(char for char in alt.lower() if char.isascii() and char.isalnum())[:40]
