"""report: all that is known of a run, as one page and as a model card."""

import startup  # noqa: F401

from pathlib import Path

from malaria.cells import describe_data, read_cells
from malaria.report import Origin, gather, write_report
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
ORDER = Path("data/images.json")
REPORTS = Path("reports")
PAGE = Path("reports/report.html")
CARD = Path("reports/model_card.md")


def main(run: StageRun) -> None:
    table = read_cells(CELLS)
    context = run.context
    data = {path: md5 for path, md5 in context.data.items() if "reports/" not in path}
    origin = Origin(context.stage_params, context.code, data)
    content = gather(REPORTS, table, describe_data(ORDER, table), origin)
    write_report(content, PAGE, CARD)


if __name__ == "__main__":
    run_stage("report", main)
