"""What DVC shows of a pipeline: its charts and its metrics."""

from collections import Counter
from pathlib import Path
from typing import Any

from dvc.render.match import match_defs_renderers
from dvc.repo import Repo

from malaria import paths
from malaria.core.yaml_files import read_yaml
from tests.conftest import REPO

PILOT = REPO / "pilot"
NO_CHART = {paths.TRAINED}  # a plot only for the run cache


def charts() -> dict[str, dict[str, Any]]:
    """Return the charts of dvc.yaml by name; those of a stage by their file."""
    pipeline = read_yaml(REPO / paths.PIPELINE)
    of_stages = [plot for stage in pipeline["stages"].values() for plot in stage.get("plots", [])]
    found = {
        name: chart for plot in [*pipeline["plots"], *of_stages] for name, chart in plot.items()
    }
    return {name: chart for name, chart in found.items() if name not in NO_CHART}


def lines() -> list[tuple[str, str]]:
    """Return the file and column of each line that a chart draws."""
    found = []
    for name, chart in charts().items():
        files = chart["y"] if isinstance(chart["y"], dict) else {name: chart["y"]}
        for file, columns in files.items():
            found += [
                (file, column) for column in ([columns] if isinstance(columns, str) else columns)
            ]
    return found


def test_axes_have_names_in_words() -> None:
    for name, chart in charts().items():
        assert chart["title"], name
        for axis in ("x_label", "y_label"):
            assert "_" not in chart[axis], name
            assert chart[axis] not in ("fpr", "tpr", "x", "y"), name


def test_no_line_is_drawn_twice_and_each_file_of_plots_is_drawn() -> None:
    assert max(Counter(lines()).values()) == 1
    written = {f"{paths.PLOTS}/{path.name}" for path in (PILOT / paths.PLOTS).iterdir()}
    assert written == {file for file, _ in lines() if file.startswith(paths.PLOTS)}


def test_dvc_draws_every_chart_of_the_pilot() -> None:
    with Repo(PILOT) as repo:
        rendered = match_defs_renderers(repo.plots.show())
    assert [(one.source_errors, one.definition_errors) for one in rendered if any(one[1:])] == []
    drawn = {Path(one.renderer.name).as_posix() for one in rendered if one.renderer.datapoints}
    assert drawn == charts().keys()


def test_dvcs_metrics_are_the_headline() -> None:
    stages = read_yaml(REPO / paths.PIPELINE)["stages"]
    metrics = [
        path for stage in stages.values() for one in stage.get("metrics", []) for path in one
    ]
    assert metrics == [paths.HEADLINE]
