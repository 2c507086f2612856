"""report: everything about a run, as one page and as a model card."""

from pathlib import Path
from typing import TYPE_CHECKING

from malaria.core.table import describe_data, read_cells
from malaria.paths import CARD, CELLS, ORDER, PAGE, REPORTS
from malaria.pipeline.facts import read_origin
from malaria.report.report import gather, write_report

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    table = read_cells(Path(CELLS))
    data = describe_data(Path(ORDER), table)
    content = gather(Path(REPORTS), table, data, read_origin(Path(), "report"))
    write_report(content, Path(PAGE), Path(CARD))
    if run.facts.checkout == run.facts.repository:  # a temporary experiment leaves no page
        page = run.facts.entry.place(PAGE)
        print(f"report: open {page}; `uv run malaria ui` shows this run and others in MLflow")
