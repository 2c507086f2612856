"""The study, demo/ and pilot/ as three DVC repositories: each sees itself."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from malaria.paths import PIPELINES
from malaria.studies.experiments import list_experiments

from .conftest import REPO, Checkout


@pytest.mark.parametrize("folder", PIPELINES)
@pytest.mark.parametrize(
    "override",
    ["train.epochs=7", "train.learning_rate=0.5", "augment.zoom_range=0.2", "split.folds=5"],
)
def test_an_override_changes_one_line(folder: str, override: str, tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides  # what `-S` calls; private, so here

    params = tmp_path / "params.yaml"
    shutil.copy(REPO / folder / "params.yaml", params)
    before = params.read_text().splitlines()
    apply_overrides(params, [override])
    after = params.read_text().splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    ((old, new),) = changed
    name, _, value = override.partition("=")
    key = name.rpartition(".")[2]
    assert new.partition("#")[0].strip() == f"{key}: {value}"
    assert new.partition("#")[2] == old.partition("#")[2]


@pytest.mark.slow
def test_dvc_commands_see_their_own_pipeline(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    printed = checkout.dvc("exp", "run", "-S", "evaluate.threshold=fixed_0.5").stdout
    assert "Stage 'predict' didn't change, skipping" in printed
    changed = checkout.run("git", "diff", "--stat", "--", "demo/params.yaml").stdout
    assert "1 file changed, 1 insertion(+), 1 deletion(-)" in changed
    diff = json.loads(checkout.dvc("metrics", "diff", "--json").stdout)
    assert set(diff) == {"reports/headline.json"}
    plots = json.loads(checkout.dvc("plots", "diff", "--json").stdout)["data"]
    assert len([name for name in plots if "roc" in name.lower()]) == 1
    api = "import json, dvc.api; print(json.dumps(dvc.api.metrics_show()))"
    shown = json.loads(checkout.run(sys.executable, "-c", api, cwd=checkout.demo).stdout)
    metrics = json.loads((checkout.demo / "reports/metrics.json").read_text())
    assert shown["test"]["accuracy"] == metrics["test"]["accuracy"]
    # An experiment's commit holds no copy of the code behind the links.
    checkout.dvc("exp", "run", "--temp", "train", "-S", "train.epochs=1")
    experiments = list_experiments(checkout.root).values()
    assert len(experiments) == 2
    for commit in experiments:
        links = ("demo/malaria", "demo/stages", "malaria", "stages")
        assert checkout.run("git", "diff", "--stat", "HEAD", commit, "--", *links).stdout == ""
    columns = checkout.dvc("exp", "show", "--csv").stdout.splitlines()[0].split(",")
    assert {"test.accuracy", "train.epochs", "evaluate.threshold"} <= set(columns)
    # The root has no results, and nothing of the others is among its columns.
    lines = checkout.dvc("exp", "show", "--csv", cwd=checkout.root).stdout.splitlines()
    assert "test.accuracy" not in lines[0]
    assert "vgg19_finetuned" in lines[1]
    assert "basic_cnn" not in lines[1]


@pytest.mark.slow
def test_a_queue_started_in_a_folder_runs_that_pipeline(finished: Checkout, tmp_path: Path) -> None:
    from .test_slow import wait_for_queue

    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    checkout.dvc("exp", "run", "--queue", "evaluate", "-S", "evaluate.threshold=fixed_0.5")
    checkout.dvc("queue", "start")
    wait_for_queue(checkout, 1)
    rows = checkout.dvc("exp", "show", "--csv").stdout
    assert "fixed_0.5" in rows
    cache = checkout.root / ".dvc/cache/files"
    assert cache.is_dir()
    assert not (checkout.demo / ".dvc/cache").exists()
