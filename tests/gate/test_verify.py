"""Committed predictions against the locked model: a small one, in a real cache of a repository."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.core.table import write_cells, write_order
from malaria.errors import MalariaError
from malaria.gate import locked
from malaria.gate.verify import Check, drawn_rows, verify_predictions
from malaria.models.base.saved import save_model
from malaria.pipeline.cache import cached_path
from malaria.pipeline.stages import md5
from malaria.prediction.predict import predictor
from malaria.prediction.table import with_probabilities, write_predictions
from tests.conftest import random_images
from tests.git_repo import git
from tests.models.test_saved import SIZE, small_model

CELLS = 30
INPUTS = ("models/model.keras", "data/images.npy", "data/images.json", "data/cells.csv")


class Project:
    """A repository whose lock, predictions and cache belong together."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc/config").write_text("[core]\n    no_scm = true\n")
        for folder in ("models", "data", "reports"):
            (root / folder).mkdir()
        number = np.arange(CELLS)
        table = pd.DataFrame(
            {
                "cell_id": [f"C{one}_cell" for one in number],
                "label": number % 2,
                "patient": [f"C{one}" for one in number],
                **{"slide": "s", "photo": "p", "width": SIZE, "height": SIZE},
                "split": np.array(["train", "val", "test"])[number % 3],
            }
        ).sort_values("cell_id", ignore_index=True)
        images = random_images(CELLS, SIZE)
        model = small_model()
        save_model(model, root / INPUTS[0])
        np.save(root / INPUTS[1], images)
        write_order(root / INPUTS[2], list(table["cell_id"]), SIZE, "test")
        write_cells(table, root / INPUTS[3])
        rows = np.flatnonzero(table["split"] != "train")
        logits = predictor(model)(images, rows)
        self.predictions = with_probabilities(table.iloc[rows].assign(logit=logits))
        write_predictions(self.predictions, root / "reports/predictions.csv")
        self.hashes = {path: md5(root / path) for path in INPUTS}
        for path, found in self.hashes.items():
            self.cached(path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).rename(cached_path(root / ".dvc/cache", found))
        git(root, "init", "-q")
        self.lock(self.hashes)

    def cached(self, path: str) -> Path:
        return cached_path(self.root / ".dvc/cache", self.hashes[path])

    def lock(self, hashes: dict[str, str]) -> None:
        deps = [{"path": path, "md5": found} for path, found in hashes.items()]
        lock = {"schema": "2.0", "stages": {"predict": {"cmd": "", "deps": deps}}}
        (self.root / "dvc.lock").write_text(json.dumps(lock))

    def verify(self, sample: int | None = None, seed: int = 1, tolerance: float = 2e-6) -> Check:
        git(self.root, "add", "-A", "dvc.lock", "reports")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "results")
        commit = git(self.root, "rev-parse", "HEAD")
        lock = (self.root / "dvc.lock").read_bytes()
        (self.root / "dvc.lock").write_text("not what was committed")
        try:
            return verify_predictions(self.root, ".", commit, sample, seed, tolerance)
        finally:
            (self.root / "dvc.lock").write_bytes(lock)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "repo")
    cache = made.root / ".dvc/cache"
    monkeypatch.setattr(locked, "cache_folder", lambda _: cache)  # DVC takes a second to say so
    return made


def test_honest_predictions_are_those_of_the_model(project: Project) -> None:
    found = project.verify()
    assert found.faults == []
    assert found.done.startswith("10 of 10 val, 10 of 10 test cells predicted again (seed 1); the")


def test_predictions_of_no_model_are_named_the_worst_first(project: Project) -> None:
    forged = project.predictions.assign(logit=np.arange(20.0) + 50)
    write_predictions(with_probabilities(forged), project.root / "reports/predictions.csv")
    found = project.verify()
    worst = forged.assign(apart=forged["logit"] - project.predictions["logit"]).sort_values("apart")
    assert f"{worst['cell_id'].iloc[-1]}: the committed logit is " in found.faults[0]
    assert found.faults[-1] == "and 17 more of 20 cells differ"


@pytest.mark.parametrize("value", ["nan", "x", "inf", ""])
def test_a_logit_that_is_no_number_differs(project: Project, value: str) -> None:
    file = project.root / "reports/predictions.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[0, "logit"] = value
    table.to_csv(file, index=False)
    assert len(project.verify().faults) == 1


def test_one_wrong_cell_is_found_if_it_is_drawn(project: Project) -> None:
    one = project.predictions.copy()
    one.loc[one.index[4], "logit"] += 0.2
    write_predictions(with_probabilities(one), project.root / "reports/predictions.csv")
    assert len(project.verify().faults) == 1
    assert project.verify(tolerance=0.3).faults == []


def test_a_seed_draws_the_same_cells_of_each_split_again() -> None:
    table = pd.DataFrame({"split": ["train", "val", "test", "test"] * 100})
    first = drawn_rows(table, 30, 1)
    assert first.tolist() == drawn_rows(table, 30, 1).tolist()
    assert first.tolist() != drawn_rows(table, 30, 2).tolist()
    counts = table["split"].iloc[first].value_counts().to_dict()
    assert counts == {"val": 30, "test": 30}
    assert len(drawn_rows(table, None, 1)) == len(set(drawn_rows(table, 500, 1))) == 300


@pytest.mark.parametrize("fault", ["label", "patient", "split", "fewer", "twice", "columns"])
def test_other_cells_than_those_of_the_table_are_red(project: Project, fault: str) -> None:
    table = project.predictions
    if fault == "label":
        table = table.assign(label=1 - table["label"])
    elif fault in ("patient", "split"):
        table = table.assign(**{fault: table[fault].to_numpy()[::-1]})
    elif fault == "fewer":
        table = table.iloc[:-1]
    elif fault == "twice":
        table = pd.concat([table, table.iloc[:1]])
    file = project.root / "reports/predictions.csv"
    write_predictions(table, file)
    if fault == "columns":
        file.write_text(file.read_text().replace("logit", "logits"))
    (found,) = project.verify().faults
    said = "there is no column" if fault == "columns" else "they differ in cell, patient, split"
    assert said in found


def test_a_cached_file_counts_only_with_its_own_hash(project: Project) -> None:
    cached = project.cached("data/images.npy")
    cached.write_bytes(cached.read_bytes()[::-1])
    with pytest.raises(MalariaError, match=r"has the MD5 .* not that of its name; delete it"):
        project.verify()
    project.cached("models/model.keras").unlink()
    project.lock(project.hashes)
    with pytest.raises(MalariaError, match="is neither in DVC's cache nor in the remote"):
        project.verify()


@pytest.mark.parametrize("md5", ["../../etc/passwd", "", "0" * 32 + ".dir", "\n" * 32])
def test_a_hash_is_one_or_the_lock_is_refused(project: Project, md5: str) -> None:
    project.lock(project.hashes | {"data/cells.csv": md5})
    with pytest.raises(MalariaError, match=r"names no file data/cells\.csv that predict read"):
        project.verify()


def test_links_and_missing_locks_are_refused(project: Project) -> None:
    file = project.root / "reports/predictions.csv"
    file.rename(project.root / "elsewhere.csv")
    file.symlink_to("../elsewhere.csv")
    with pytest.raises(MalariaError, match="is a symbolic link"):
        project.verify()
    (project.root / "dvc.lock").write_text('{"schema": "2.0", "stages": {}}')
    with pytest.raises(MalariaError, match="records no run of predict"):
        project.verify()
