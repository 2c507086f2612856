"""The base's model on other test cells: real files in a real cache, named by real locks."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria.base_model import evaluate_base
from malaria.cached import cache_folder, cached_path
from malaria.cells import write_cells
from malaria.errors import MalariaError
from malaria.evaluated import Evaluated
from malaria.metrics import DIGITS
from malaria.modelfile import save_model
from malaria.pipeline import md5
from malaria.prediction import predict_logits
from tests.conftest import png, random_images, write_cell_zip
from tests.test_modelfile import SIZE, small_model

CELLS = 12  # one a patient, every second one parasitized
THRESHOLD = 0.3


def frame(splits: Mapping[int, str]) -> pd.DataFrame:
    """Return the table of cells; who is in no split named is in train."""
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
    """A repository with a base and a work tree that was tested on other patients."""

    def __init__(self, root: Path, base: Mapping[int, str], head: Mapping[int, str]) -> None:
        self.root = root
        self.model = small_model()
        table = frame(head)
        pixels = random_images(CELLS, SIZE)
        self.images = dict(zip(table["cell_id"], pixels, strict=True))
        (root / ".dvc").mkdir()
        (root / ".dvc/config").write_text("[core]\n    no_scm = true\n")
        folders = {0: "Uninfected", 1: "Parasitized"}
        entries = {
            f"{folders[label]}/{name}.png": png(self.images[name])
            for name, label in zip(table["cell_id"], table["label"], strict=True)
        }
        save_model(self.model, root / "model.keras")
        write_cells(frame(base), root / "cells.csv")
        write_cell_zip(root / "cells.zip", entries)
        self.base = self.commit(
            {"models/model.keras": "model.keras", "data/cells.csv": "cells.csv"}
        )
        self.lock({"data/raw/cell_images.zip": "cells.zip"})
        tested = table[table["split"] == "test"]
        self.head = Evaluated(tested.assign(logit=0.5, probability=0.6).reset_index(drop=True), 0.5)

    def lock(self, outs: Mapping[str, str]) -> None:
        """Move files into the cache, and write a lock that names them as outputs."""
        listed = []
        for path, file in outs.items():
            found = md5(self.root / file)
            listed.append({"path": path, "md5": found})
            cached = cached_path(self.root / ".dvc/cache", found)
            cached.parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).rename(cached)
        (self.root / "dvc.lock").write_text(json.dumps({"stages": {"all": {"outs": listed}}}))

    def commit(self, outs: Mapping[str, str]) -> str:
        self.lock(outs)
        for command in (
            ["init", "-q"],
            ["add", "dvc.lock"],
            ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "base"],
        ):
            subprocess.run(["git", *command], cwd=self.root, check=True)
        told = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=self.root, check=True, capture_output=True, text=True
        )
        return told.stdout.strip()

    def evaluate(self) -> Evaluated:
        other = Evaluated(self.head.cells, THRESHOLD)
        return evaluate_base(self.root, ".", self.base, other, self.head)

    def forget(self, path: str) -> None:
        """Take what the base's lock calls `path` out of the cache."""
        for out in json.loads(
            subprocess.run(
                ["git", "show", f"{self.base}:dvc.lock"],
                cwd=self.root,
                check=True,
                capture_output=True,
            ).stdout
        )["stages"]["all"]["outs"]:
            if out["path"] == path:
                cached_path(cache_folder(self.root), out["md5"]).unlink()


KNOWN = {1: "test", 2: "test", 3: "val"}
NEW = {1: "test", 3: "test", 4: "test", 2: "test"}


def test_it_judges_the_cells_of_patients_that_the_base_did_not_know(tmp_path: Path) -> None:
    project = Project(tmp_path, base=KNOWN, head=NEW)
    found = project.evaluate()
    assert sorted(found.cells["patient"]) == ["C1", "C2"]  # C3 was in val, C4 in train
    assert found.threshold == THRESHOLD
    pixels = np.stack([project.images[name] for name in found.cells["cell_id"]])
    expected = predict_logits(project.model, pixels, np.arange(len(pixels)))
    assert found.cells["logit"].tolist() == expected.round(DIGITS).tolist()
    assert list(found.cells["label"]) == list(
        project.head.only(found.cells["cell_id"]).cells["label"]
    )


def test_the_zip_is_resized_to_what_the_model_takes(tmp_path: Path) -> None:
    project = Project(tmp_path, base=KNOWN, head=NEW)
    for name, image in project.images.items():
        project.images[name] = np.asarray(Image.fromarray(image).resize((2 * SIZE, 2 * SIZE)))
    entries = {
        f"{'Parasitized' if 'P' in name.split('Thin')[0] else 'Uninfected'}/{name}.png": png(image)
        for name, image in project.images.items()
    }
    write_cell_zip(tmp_path / "large.zip", entries)
    project.lock({"data/raw/cell_images.zip": "large.zip"})
    assert len(project.evaluate().cells) == 2


def test_where_the_base_knew_all_patients_nothing_is_judged(tmp_path: Path) -> None:
    project = Project(tmp_path, base=KNOWN, head={4: "test", 5: "test"})
    with pytest.raises(MalariaError, match="trained or chosen on all 2 test patients"):
        project.evaluate()


@pytest.mark.parametrize("path", ["models/model.keras", "data/cells.csv"])
def test_what_is_not_in_the_cache_is_named(tmp_path: Path, path: str) -> None:
    project = Project(tmp_path, base=KNOWN, head=NEW)
    project.forget(path)
    with pytest.raises(MalariaError, match=f"the base's {path} .* is not in DVC's cache"):
        project.evaluate()


def test_a_lock_without_the_zip_and_none_at_all_are_told(tmp_path: Path) -> None:
    project = Project(tmp_path, base=KNOWN, head=NEW)
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    with pytest.raises(MalariaError, match=r"the pull request's dvc.lock names no data/raw"):
        project.evaluate()
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(MalariaError, match=r"\./dvc.lock is not at the work tree"):
        project.evaluate()


def test_a_cell_that_the_zip_does_not_have_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path, base=KNOWN, head=NEW)
    project.head.cells.loc[0, ["cell_id", "patient"]] = ["C99_IMG_1_cell_1", "C99"]
    with pytest.raises(MalariaError, match="the test cell C99_IMG_1_cell_1 is not in the zip"):
        project.evaluate()
