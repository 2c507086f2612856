"""Writes the page of a comparison, and leaves it in MLflow, too."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria.compare.content import gather
from malaria.compare.pictures import local_files
from malaria.compare.side import Side, read_side
from malaria.compare.sources import find_sources, has_store
from malaria.core.files import write_file
from malaria.core.params import load
from malaria.evaluation.names import name_of
from malaria.paths import COMPARE, PARAMS
from malaria.prediction.params import EvaluateParams
from malaria.prediction.table import as_text
from malaria.report.page import render

LONGEST_NAME = 80  # of a page, which is named after what it compares


@dataclass(frozen=True)
class Compared:
    """A page, its metrics for the terminal, and the last of the models."""

    page: Path
    metrics: str
    last: Side


def compare(
    root: Path, folder: str, names: Sequence[str], output: Path | None, has_maps: bool
) -> Compared:
    """Write the page about two or more models.

    `folder` is the pipeline's, relative to the repository `root`; without `output` the page comes
    into its folder `compare`. With `has_maps` it has heat maps where the models are in DVC's
    cache. Raises MalariaError for a name of nothing, and for results that are missing, broken or
    without a common test cell.
    """
    sides = [read_side(source) for source in find_sources(root, folder, names)]
    params = load(EvaluateParams, root / folder / PARAMS)
    with local_files(root, folder) as local:
        content = gather(root, sides, local, params, has_maps)
    page = output or root / folder / COMPARE / f"{_file_name(names)}.html"
    if output is None:
        page.parent.mkdir(exist_ok=True)
    title = f"Compared: {', '.join(names)}"
    write_file(page, render("compare.html.j2", title=title, **content))
    return Compared(page, _as_text(content), sides[-1])


def log(root: Path, folder: str, compared: Compared) -> str | None:
    """Add the page to the row of the last model in MLflow; return the row's name.

    None if there is no store, or no row in it; a store that does not answer is told on stderr.
    """
    if not has_store(root):
        return None
    from malaria.tracking.compared import log_page  # here, as MLflow takes seconds to import

    last = compared.last
    return log_page(
        root,
        folder,
        compared.page,
        run_id=last.source.run_id,
        commit=last.source.commit,
        experiment=last.source.experiment,
    )


def _as_text(content: Mapping[str, Any]) -> str:
    rows = []
    for row in content["rows"]:
        found: dict[str, Any] = {"metric": name_of(row.metric)}
        for (name, _, _), value in zip(content["sides"], row.values, strict=True):
            found[name] = value.estimate
        if row.difference is not None:
            found |= {
                "B less A": row.difference.estimate,
                "low": row.difference.low,
                "high": row.difference.high,
            }
        if content["summary"]:
            found |= dict(zip(("mean", "sd"), content["summary"][row.metric], strict=True))
        rows.append(found)
    return as_text(pd.DataFrame(rows))


def _file_name(names: Sequence[str]) -> str:
    plain = "..".join(re.sub(r"[^\w.-]+", "-", name).strip("-.") for name in names)
    return plain[:LONGEST_NAME].strip(".") or COMPARE
