"""The gate's judgement as a comment on the pull request, in Markdown that GitHub shows.

Whatever comes from files (params, names, reasons) is text that anybody may have written: it is
shown as code, with every character that means something in Markdown or HTML escaped.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from malaria.gate.judgement import Comparison, Judgement, Outcome, Overlap
from malaria.gate.params import SLICES
from malaria.gate.verdict import points as share_in_points
from malaria.pipeline.git import ParamChange
from malaria.report.page import number, render
from malaria.report.recipe_changes import shortened

BAR_CELLS = 25  # characters of a bar; odd, so that one of them is 0
BAR_REACH = 2  # margins on either side of 0
ROWS = 30  # changed params that are shown; a comment has at most 65,536 characters
LONGEST_REASON = 500  # characters
LONGEST_CODE = 100  # each may take eight, as &#8230;
MARKS = re.compile(r"[^\w\s]|_")


class Judged(Protocol):
    """A folder, as far as the comment's first lines and its order need it."""

    @property
    def folder(self) -> str:
        """The pipeline's."""

    @property
    def judgement(self) -> Judgement:
        """The gate's answer."""

    @property
    def comment(self) -> str:
        """Its text."""

    @property
    def changed_rules(self) -> Sequence[ParamChange]:
        """The params of the gate that the pull request changes."""

    @property
    def is_unchanged(self) -> bool:
        """Whether its results are those of the base."""


def overview(
    folders: Sequence[Judged], judges: Sequence[str] = (), kept: Sequence[str] = ()
) -> str:
    """Return the whole comment; `judges` are changed files that judge, `kept` changed results.

    First what a reviewer must see: accepted losses, changed rules of the gate, changed judges, and
    kept results that are changed or gone, as nothing judges them.
    Then the folders with new results, and a line for each of the others.
    """
    is_short = {Outcome.PASS: "unchanged results pass", Outcome.NO_RESULTS: "no results yet"}

    def line(each: Judged) -> str | None:
        judged = each.judgement.outcome
        is_whole = not each.is_unchanged and judged != Outcome.NO_RESULTS
        return None if is_whole else is_short.get(judged)

    rules = [(each.folder, change) for each in folders for change in each.changed_rules]
    return render(
        "overview.md.j2",
        accepted=[one for one in folders if one.judgement.outcome == Outcome.LOSS_ACCEPTED],
        rules=rules[:ROWS],
        rules_not_shown=max(len(rules) - ROWS, 0),
        judges=judges[:ROWS],
        judges_not_shown=max(len(judges) - ROWS, 0),
        kept=kept[:ROWS],
        kept_not_shown=max(len(kept) - ROWS, 0),
        whole=[each.comment for each in folders if line(each) is None],
        short=[(each.folder, text) for each in folders if (text := line(each)) is not None],
        code=code,
        reason=reason,
        shortened=shortened,
    )


def comment(
    judgement: Judgement,
    folder: str,
    changed: Sequence[ParamChange] = (),
    times_used: int | None = None,
    pictures: str | None = None,
    mlflow_url: str | None = None,
) -> str:
    """Return the comment: verdict, a line per metric, slices that got worse, changed params.

    `changed` are params since the base. `times_used` says how often the same test split has
    decided before. `pictures` is the address below which the head's files of the repository are,
    `mlflow_url` that of the run.
    """
    return render(
        "comment.md.j2",
        folder=folder,
        judgement=judgement,
        comparisons=_of_kind(judgement.against, Comparison),
        overlaps=_of_kind(judgement.against, Overlap),
        changed=changed[:ROWS],
        not_shown=max(len(changed) - ROWS, 0),
        times_used=times_used,
        pictures=_web_address(f"{pictures}/{quote(folder)}/reports" if pictures else None),
        mlflow_url=_web_address(mlflow_url),
        chosen=[
            name
            for name, other in judgement.against.items()
            if isinstance(other, Comparison) and other.is_chosen
        ],
        slices=SLICES,
        bar=bar,
        code=code,
        reason=reason,
        in_points=share_in_points,
        points=points,
        rate=rate,
        shortened=shortened,
    )


def reason(text: str) -> str:
    """Return a reason, which may quote names or what a person wrote, as harmless text."""
    return _harmless(text[:LONGEST_REASON])


def code(text: object) -> str:
    """Return foreign text as code on one line, in which nothing is markup, a mention or a link."""
    return f"<code>{_harmless(str(text)[:LONGEST_CODE])}</code>"


def _harmless(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return MARKS.sub(lambda mark: f"&#{ord(mark[0])};", printable)


def rate(value: float) -> str:
    """Return a metric with three digits; a dash for NaN."""
    return "-" if math.isnan(value) else number(value)


def points(value: float) -> str:
    """Return a difference in points of 100, with its sign; a dash for NaN."""
    return "-" if math.isnan(value) else f"{round(100 * value, 1) + 0:+.1f}"  # no -0.0


def bar(difference: float, low: float, high: float, margin: float) -> str:
    """Return a line of fixed width: interval, estimate, 0 and margin, from -2 to 2 margins.

    `┊` is the margin, `│` 0, `━` the interval and `●` the estimate; an arrow says that something
    lies beyond the end. Empty if there is no interval.
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    middle, last = BAR_CELLS // 2, BAR_CELLS - 1

    def place(value: float) -> int:
        return middle + round(value / (BAR_REACH * margin) * middle)

    line = ["·"] * BAR_CELLS
    for at in range(max(place(low), 0), min(place(high), last) + 1):
        line[at] = "━"
    line[place(-margin)] = "┊"
    line[middle] = "│"
    if place(low) < 0:
        line[0] = "◀"
    if place(high) > last:
        line[last] = "▶"
    line[min(max(place(difference), 0), last)] = "●"
    return "".join(line)


def _of_kind(against: Mapping[str, object], kind: type) -> dict[str, Any]:
    return {name: other for name, other in against.items() if isinstance(other, kind)}


def _web_address(url: str | None) -> str | None:
    """Return an address that is safe between < and >, None for anything else."""
    safe = re.fullmatch(r"https?://[\w.:/?#&=%~+,;-]+", url or "", re.ASCII)
    return safe[0] if safe else None
