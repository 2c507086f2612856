"""What an edit of each package costs, asked of DVC itself, and what undoing a change costs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from malaria.studies.experiments import file_at, list_experiments
from tests.test_house import ORDER, STAGES

from .conftest import Checkout

ALL = set(STAGES)
NOTHING: set[str] = set()
# The stages that `dvc status` would run after an edit of a file.
COSTS = {
    "malaria/core/table.py": ALL,
    "malaria/data/archive.py": ALL - {"explore", "controls", "train", "explain"},
    "malaria/models/base/vgg.py": {"explore", "train", "predict", "explain", "report"},
    "malaria/models/systems/basic_cnn.py": {"explore", "train"},  # the demo's
    "malaria/models/systems/cnn_se.py": NOTHING,
    "malaria/training/augment.py": {"explore", "train", "predict", "explain", "report"},
    "malaria/exploration/pictures.py": {"explore", "controls", "explain", "report"},
    "malaria/prediction/table.py": {"controls", "predict", "evaluate", "explain", "report"},
    "malaria/evaluation/metrics.py": {"evaluate", "explain", "report"},
    "malaria/explanation/gradcam.py": {"explain", "report"},
    "malaria/report/templates/report.html.j2": {"report"},
    "malaria/pipeline/git.py": {"report"},
    "malaria/drawing.py": {"explore", "evaluate", "explain", "report"},
    "malaria/gate/judge.py": NOTHING,
    "malaria/gate/comment.md.j2": NOTHING,
    "malaria/tracking/write.py": NOTHING,
    "malaria/studies/repeats.py": NOTHING,
    "malaria/compare/measure.py": NOTHING,
    "malaria/registry/promote.py": NOTHING,
    "malaria/doctor/checks.py": NOTHING,
    "malaria/cli/main.py": NOTHING,
    "malaria/__init__.py": NOTHING,
    "malaria/__main__.py": NOTHING,
    "malaria/errors.py": NOTHING,
    "malaria/params.py": NOTHING,
    "malaria/paths.py": NOTHING,
    "malaria/quiet_keras.py": NOTHING,
    "stages/train.py": {"train", "report"},
    # Caches, notes and editor files.
    "malaria/core/__pycache__/table.cpython-311.pyc": NOTHING,
    "malaria/training/.augment.py.swp": NOTHING,
    "malaria/models/base/notes.txt": NOTHING,
    # A new system.
    "malaria/models/systems/new.py": NOTHING,
}


def stages_to_run(checkout: Checkout) -> set[str]:
    return set(json.loads(checkout.dvc("status", "--json").stdout))


def trained_in(checkout: Checkout, experiment: str) -> dict[str, Any]:
    """Return the train.json of a DVC experiment."""
    commit = list_experiments(checkout.root)[experiment]
    content: dict[str, Any] = json.loads(file_at(checkout.root, commit, "demo/reports/train.json"))
    return content


def test_the_table_has_every_package() -> None:
    named = {path.split("/")[1].removesuffix(".py") for path in COSTS}
    assert {name for line in ORDER for name in line} <= named
    retrain = {path.split("/")[1] for path, stages in COSTS.items() if "train" in stages}
    assert retrain == {"core", "models", "training", "train.py"}


@pytest.mark.slow
def test_an_edit_runs_the_stages_of_its_folder(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    assert stages_to_run(checkout) == NOTHING
    found = {}
    for path in COSTS:
        file = checkout.root / path
        before = file.read_bytes() if file.exists() else None
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((before or b"") + b"\n")
        found[path] = stages_to_run(checkout)
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
    assert found == COSTS


@pytest.mark.slow
def test_the_run_cache_brings_a_training_back(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    model = (checkout.demo / "models/model.keras").read_bytes()
    params = checkout.demo / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("keep: best", "keep: last").replace("epochs: 2", "epochs: 3"))
    assert "epoch 3  " in checkout.dvc("repro", "train").stdout
    assert (checkout.demo / "models/model.keras").read_bytes() != model
    params.write_text(before)
    output = checkout.dvc("repro", "train").stdout
    assert "Stage 'train' is cached - skipping run" in output
    assert "epoch 1  " not in output
    assert (checkout.demo / "models/model.keras").read_bytes() == model
    other = ("-S", "train.epochs=3", "-S", "train.keep=last", "--name", "again")
    printed = checkout.dvc("exp", "run", "--temp", "train", *other)
    assert "epoch 1  " not in printed.stdout + printed.stderr
    assert trained_in(checkout, "again")["recipe"]["epochs"] == 3


@pytest.mark.slow
def test_a_new_system_is_one_file(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    folder = checkout.root / "malaria/models/systems"
    shutil.copyfile(folder / "cnn_leaky.py", folder / "cnn_new.py")
    assert stages_to_run(checkout) == NOTHING
    checkout.commit("a system")
    new = ("-S", "train.model=cnn_new", "-S", "train.epochs=1", "--name", "new")
    checkout.dvc("exp", "run", "--temp", "train", *new)
    assert trained_in(checkout, "new")["model"] == "cnn_new"
