"""The page: what it says of two models, of many, and of models on other cells."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.cli import root
from malaria.compare.compare import compare
from malaria.core.table import COLUMNS, write_cells, write_order
from malaria.errors import MalariaError
from malaria.paths import CELLS, IMAGES, METRICS, MODEL, ORDER, PARAMS
from tests.gate.test_judge import cells, moved
from tests.git_repo import git, keep_as_experiment

from .pipeline import FOLDER, Pipeline
from .test_sources import keep

VOID = {"meta", "img", "br", "path", "rect", "link"}


class Page(HTMLParser):
    """The elements of a page; raises if one is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.charts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values: dict[str, Any] = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(values)
        if values.get("role") == "img":
            self.charts.append(values["aria-label"])
        for key in ("src", "href"):
            assert values.get(key, "#").startswith(("#", "data:")), "no network"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def page_of(pipeline: Pipeline, *names: str, has_maps: bool = True) -> Page:
    return Page(compare(pipeline.root, FOLDER, names, None, has_maps).page.read_text())


def add_images(pipeline: Pipeline, size: int = 8) -> None:
    """Leave the cells' images in the folder."""
    table = cells().assign(slide="s", photo="p", width=9, height=9)
    (pipeline.folder / "data").mkdir()
    write_cells(table[COLUMNS], pipeline.folder / CELLS)
    write_order(pipeline.folder / ORDER, list(table["cell_id"]), size, "real")
    images = np.random.default_rng(0).integers(0, 255, (len(table), size, size, 3), dtype=np.uint8)
    np.save(pipeline.folder / IMAGES, images)


def test_the_page_shows_what_differs_between_two_models(pipeline: Pipeline) -> None:
    add_images(pipeline)
    found = compare(pipeline.root, FOLDER, ["before", "after"], None, True)
    assert found.page == pipeline.folder / "compare/before..after.html"
    assert re.search(r"sensitivity 0\.985 0\.\d+ +-0\.\d+", found.metrics)
    page = Page(found.page.read_text())
    text = page.text
    assert "<code>train.epochs</code></td><td><code>2</code></td><td><code>3</code>" in text
    assert "whose content differs: <code>malaria/training</code>." in text
    assert "<code>malaria/training/fit.py</code>" in text
    assert "results &lt;b&gt;of&lt;/b&gt; a run" in text
    assert '<b class="worse">worse</b>' in text
    assert [chart.split(":")[0].split(" of ")[0] for chart in page.charts] == [
        "Differences",
        "ROC curve",
        "Precision-recall curve",
        "Calibration",
        "Share",
        "Learning curves",
        "Learning curves",
    ]
    assert text.index("<h3>Right in A, wrong in B") < text.index("<h3>Wrong in A, right in B")
    assert "script" not in page.tags


def test_pictures_are_shown_if_the_images_are_there(pipeline: Pipeline) -> None:
    assert "No pictures: data/images.npy" in page_of(pipeline, "before", "after").text
    add_images(pipeline)
    page = page_of(pipeline, "before", "after")
    assert "No pictures" not in page.text
    assert "No heat maps: before has no dvc.lock that names its model." in page.text
    assert len(page.images) > 10
    assert all(image["alt"].startswith("cell labelled ") for image in page.images)
    assert "No heat maps" not in page_of(pipeline, "before", "after", has_maps=False).text
    (pipeline.folder / IMAGES).write_bytes(b"half")
    with pytest.raises(MalariaError, match="are not the images of stage `preprocess`"):
        page_of(pipeline, "before", "after")


def test_equal_predictions_change_nothing(pipeline: Pipeline) -> None:
    git(pipeline.root, "tag", "again", "before")
    text = page_of(pipeline, "before", "again").text
    assert "No param differs." in text
    assert "No code differs." in text
    assert "0 patients got worse, 0 better, and 20 have as many" in text
    assert "0 of 800 cells." in text
    assert '<b class="' not in text


def test_other_test_cells_are_said_and_only_common_ones_compared(pipeline: Pipeline) -> None:
    pipeline.commit(moved(), tag="moved")
    text = page_of(pipeline, "before", "moved").text
    assert "The test cells differ (800, 800)." in text
    assert "On 760 test cells of 19 patients." in text
    other = cells()
    other["cell_id"] = "x" + other["cell_id"]
    pipeline.commit(other, tag="other")
    with pytest.raises(MalariaError, match=r"^before and other have no test cell in common"):
        page_of(pipeline, "before", "other")


def test_many_models_have_mean_and_spread(pipeline: Pipeline) -> None:
    pipeline.commit(cells(noise=1), tag="third")
    found = compare(pipeline.root, FOLDER, ["before", "after", "third"], None, True)
    assert re.search(r"metric +A +B +C +mean +sd\n", found.metrics)
    line = next(line for line in found.metrics.splitlines() if "sensitivity" in line)
    *values, mean, spread = map(float, line.split()[1:])
    assert mean == pytest.approx(np.mean(values), abs=1e-3)
    assert spread == pytest.approx(np.std(values, ddof=1), abs=1e-3)
    page = Page(found.page.read_text())
    assert "standard deviation" in page.text
    assert "Those that the fewest models have right come first." in page.text
    assert "B less A" not in page.text


def test_folds_of_a_series_are_compared_by_their_own_cells(pipeline: Pipeline) -> None:
    for fold in (1, 2, 3):
        frame = cells(seed=fold, noise=0.5)
        frame["cell_id"] = f"fold{fold}" + frame["cell_id"]
        pipeline.write(frame)
        keep_as_experiment(pipeline.root, f"cv-fold{fold}", baseline="abc"[fold - 1])
    page = page_of(pipeline, "cv")
    assert "No cell is tested by all" in page.text
    assert "Patients" not in page.text
    assert len(page.charts) == 6


def test_kept_experiments_without_predictions_have_their_written_metrics(
    pipeline: Pipeline,
) -> None:
    keep(pipeline, "kept", METRICS, PARAMS)
    page = page_of(pipeline, "before", "pilot/experiments/kept")
    assert "There are no predictions of B" in page.text
    assert "The code that B ran with is not recorded here." in page.text
    assert [chart[:15] for chart in page.charts] == ["Learning curves", "Learning curves"]


def test_one_class_alone_has_no_curves(pipeline: Pipeline) -> None:
    frame = cells()
    frame = frame[(frame["label"] == 0) | (frame["split"] == "val")]
    pipeline.commit(frame, tag="healthy")
    pipeline.commit(frame.assign(probability=frame["probability"]), 0.4, tag="healthier")
    text = page_of(pipeline, "healthy", "healthier").text
    assert "not defined" in text
    assert "ROC curve" not in text


def test_names_and_values_are_text(pipeline: Pipeline) -> None:
    frame = cells()
    frame["patient"] = frame["patient"].replace("C1", "<script>C1</script>")
    pipeline.commit(frame, tag="odd")
    pipeline.commit(frame.assign(), 0.7, tag="odder")
    page = page_of(pipeline, "odd", "odder")
    assert "script" not in page.tags
    assert "&lt;script&gt;C1" in page.text


def test_the_command_says_where_the_page_is(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "ROOT", pipeline.root)
    answer = CliRunner().invoke(cli.app, ["compare", "before", "after", "--folder", FOLDER])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == str(pipeline.folder / "compare/before..after.html")
    output = Path("page.html")
    options = ["--output", str(output), "--no-maps"]
    CliRunner().invoke(cli.app, ["compare", "before", "after", *options])
    assert output.read_text().startswith("<!doctype html>")
    answer = CliRunner().invoke(cli.app, ["compare", "before", "never", "--folder", FOLDER])
    assert isinstance(answer.exception, MalariaError)


def test_a_model_that_is_not_in_the_cache_is_named(pipeline: Pipeline) -> None:
    add_images(pipeline)
    for name, code in (("one", "x"), ("two", "y")):
        pipeline.commit(cells(loss=len(code)), tag=name, images={MODEL: f"{code}0" * 16}, code=code)
    (pipeline.root / ".dvc").mkdir()
    (pipeline.root / ".dvc/config").touch()
    pipeline.commit(cells(noise=2), tag="three", images={MODEL: "a" * 32})
    text = page_of(pipeline, "one", "three").text
    assert "(MD5 aaaaaaaa" in text
    assert "is not in DVC&#39;s cache" in text
