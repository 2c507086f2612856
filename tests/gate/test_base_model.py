"""The base's model on other test cells: real files in a real cache, named by real locks."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria.core.table import write_cells
from malaria.errors import MalariaError
from malaria.gate.base_model import evaluate_base_model
from malaria.gate.predictions import Evaluated
from malaria.models.base.saved import save_model
from malaria.pipeline.cache import cached_path
from malaria.pipeline.stages import md5
from malaria.prediction.predict import predictor
from malaria.prediction.table import DIGITS
from tests.conftest import png, random_images, write_cell_zip
from tests.git_repo import git
from tests.models.test_saved import SIZE, small_model

CELLS = 12  # one per patient, every second one parasitized
THRESHOLD = 0.3
ZIP = "data/raw/cell_images.zip"
KNOWN = {1: "test", 2: "test", 3: "val"}
NEW = {1: "test", 3: "test", 4: "test", 2: "test"}


def frame(splits: Mapping[int, str]) -> pd.DataFrame:
    """Return the table of cells; a patient that is not in `splits` is in train."""
    number = np.arange(1, CELLS + 1)
    slides = [f"C{one}ThinF" if one % 2 else f"C{one}P{one}ThinF" for one in number]
    table = pd.DataFrame(
        {
            "cell_id": [f"{slide}_IMG_20150918_144104_cell_1" for slide in slides],
            "label": 1 - number % 2,
            "patient": [f"C{one}" for one in number],
            "slide": slides,
            "photo": "20150918_144104",
            "width": SIZE,
            "height": SIZE,
            "split": [splits.get(int(one), "train") for one in number],
        }
    )
    return table.sort_values("cell_id", ignore_index=True)


class Project:
    """A repository with a base, and a work tree that was tested on other patients."""

    def __init__(self, root: Path, head: Mapping[int, str] = NEW) -> None:
        self.root = root
        self.model = small_model()
        self.cached: dict[str, Path] = {}
        self.at: str | None = None  # the work tree
        self.table = frame(head)
        (root / ".dvc").mkdir()
        (root / ".dvc/config").write_text("[core]\n    no_scm = true\n")
        save_model(self.model, root / "model.keras")
        write_cells(frame(KNOWN), root / "cells.csv")
        self.lock({"models/model.keras": "model.keras", "data/cells.csv": "cells.csv"})
        git(root, "init", "-q")
        git(root, "add", "dvc.lock")
        git(root, "commit", "-q", "-m", "base")
        self.base = git(root, "rev-parse", "HEAD")
        self.images = dict(zip(self.table["cell_id"], random_images(CELLS, SIZE), strict=True))
        self.lock_zip()
        tested = self.table[self.table["split"] == "test"]
        self.head = Evaluated(tested.assign(logit=0.5, probability=0.6).reset_index(drop=True), 0.5)

    def lock(self, outs: Mapping[str, str]) -> None:
        """Move files into the cache, and write a lock that names them as outputs."""
        hashes = {path: md5(self.root / file) for path, file in outs.items()}
        for path, file in outs.items():
            self.cached[path] = cached_path(self.root / ".dvc/cache", hashes[path])
            self.cached[path].parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).rename(self.cached[path])
        listed = [{"path": path, "md5": found} for path, found in hashes.items()]
        (self.root / "dvc.lock").write_text(json.dumps({"stages": {"all": {"outs": listed}}}))

    def lock_zip(self) -> None:
        """Lock a zip of the images."""
        folders = {0: "Uninfected", 1: "Parasitized"}
        entries = {
            f"{folders[label]}/{name}.png": png(self.images[name])
            for name, label in zip(self.table["cell_id"], self.table["label"], strict=True)
        }
        write_cell_zip(self.root / "cells.zip", entries)
        self.lock({ZIP: "cells.zip"})

    def evaluate(self) -> Evaluated:
        other = Evaluated(self.head.cells, THRESHOLD)
        return evaluate_base_model(self.root, ".", self.base, self.at, other, self.head)


def test_it_judges_the_cells_of_patients_that_the_base_did_not_know(tmp_path: Path) -> None:
    project = Project(tmp_path)
    found = project.evaluate()
    assert sorted(found.cells["patient"]) == ["C1", "C2"]  # C3 was in val, C4 in train
    assert found.threshold == THRESHOLD
    pixels = np.stack([project.images[name] for name in found.cells["cell_id"]])
    expected = predictor(project.model)(pixels, np.arange(len(pixels)))
    assert found.cells["logit"].tolist() == expected.round(DIGITS).tolist()
    assert found.cells["label"].tolist() == [int("P" in one) for one in found.cells["slide"]]


def test_the_zip_is_that_of_the_revision_that_is_judged(tmp_path: Path) -> None:
    project = Project(tmp_path)
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-q", "-m", "head")
    project.at = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "dvc.lock").unlink()
    assert len(project.evaluate().cells) == 2


def test_the_zip_is_resized_to_what_the_model_takes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for name, image in project.images.items():
        project.images[name] = np.asarray(Image.fromarray(image).resize((2 * SIZE, 2 * SIZE)))
    project.lock_zip()
    assert len(project.evaluate().cells) == 2


def test_a_base_that_knew_all_patients_judges_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, head={4: "test", 5: "test"})
    with pytest.raises(MalariaError, match="trained or chosen on all 2 test patients"):
        project.evaluate()


@pytest.mark.parametrize("path", ["models/model.keras", "data/cells.csv"])
def test_what_is_not_in_the_cache_is_named(tmp_path: Path, path: str) -> None:
    project = Project(tmp_path)
    project.cached[path].unlink()
    with pytest.raises(
        MalariaError, match=f"the base's {path} .* is not in DVC's cache; in a pull"
    ):
        project.evaluate()  # no remote is set
    (tmp_path / ".dvc/config").write_text("[core]\n    remote = store\n")
    with pytest.raises(
        MalariaError, match="cache; fetch it with `uv run dvc fetch --all-commits`, or"
    ):
        project.evaluate()


@pytest.mark.parametrize("path", ["models/model.keras", "data/cells.csv", ZIP])
def test_what_the_cache_has_instead_is_not_loaded(tmp_path: Path, path: str) -> None:
    project = Project(tmp_path)
    project.cached[path].write_bytes(b"another file")
    with pytest.raises(MalariaError, match=rf"{path} in DVC's cache .* has the MD5 .*, not .*;"):
        project.evaluate()


def test_a_lock_without_the_zip_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    with pytest.raises(MalariaError, match=rf"the pull request's dvc\.lock names no {ZIP}"):
        project.evaluate()
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(MalariaError, match=r"the pull request's dvc\.lock does not exist, so the"):
        project.evaluate()


def test_a_cell_that_the_zip_does_not_have_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.head.cells.loc[0, ["cell_id", "patient"]] = ["C99_IMG_1_cell_1", "C99"]
    with pytest.raises(MalariaError, match="the test cell C99_IMG_1_cell_1 is not in the zip"):
        project.evaluate()
