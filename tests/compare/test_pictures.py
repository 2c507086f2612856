"""Heat maps: of models in the cache alone that have the lock's hash."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.compare.pictures import local_files, map_cells
from malaria.compare.side import Side, read_side
from malaria.compare.sources import find_sources
from malaria.models.base.saved import save_model
from malaria.paths import IMAGES, MODEL
from tests.explanation.test_gradcam import red_and_blue
from tests.gate.test_judge import cells

from .pipeline import FOLDER, Pipeline
from .test_compare import add_images, page_of

SIZE = 8


def keep_model(pipeline: Pipeline, size: int = SIZE) -> Path:
    """Put a model into DVC's cache, commit a lock that names it; return where it lies."""
    (pipeline.root / ".dvc").mkdir(exist_ok=True)
    (pipeline.root / ".dvc/config").touch()
    draft = pipeline.root / "model.keras"
    save_model(red_and_blue(size), draft)
    md5 = hashlib.md5(draft.read_bytes()).hexdigest()
    cached = pipeline.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    draft.rename(cached)
    (pipeline.root / ".gitignore").write_text("/.dvc/cache/\n/pilot/data/\n")
    pipeline.commit(cells(), tag="kept", images={MODEL: md5})
    pipeline.commit(cells(loss=1.5), tag="worse", images={MODEL: md5})
    return cached


def sides_of(pipeline: Pipeline) -> list[Side]:
    return [read_side(one) for one in find_sources(pipeline.root, FOLDER, ["kept", "worse"])]


def maps_of(pipeline: Pipeline) -> list[np.ndarray] | str:
    chosen = pd.DataFrame({"cell_id": ["cell00000", "cell00003"], "called": [1, 0]})
    with local_files(pipeline.root, FOLDER) as local:
        return map_cells(local, sides_of(pipeline), 0, chosen)


def test_the_maps_are_of_the_cells_and_the_calls(pipeline: Pipeline) -> None:
    add_images(pipeline, SIZE)
    keep_model(pipeline)
    found = maps_of(pipeline)
    assert not isinstance(found, str)
    images = np.load(pipeline.folder / IMAGES)
    assert [one.shape for one in found] == [(SIZE, SIZE, 3)] * 2
    assert not np.array_equal(found[0], images[0])
    page = page_of(pipeline, "kept", "worse")
    assert "No heat maps" not in page.text
    assert len(page.images) % 3 == 0
    alts = [image["alt"] for image in page.images[:3]]
    assert alts[0].startswith("cell labelled ")
    assert alts[1:] == ["heat map of A", "heat map of B"]


def test_a_model_with_another_hash_is_never_loaded(pipeline: Pipeline) -> None:
    add_images(pipeline, SIZE)
    cached = keep_model(pipeline)
    cached.write_bytes(cached.read_bytes() + b"more")
    found = maps_of(pipeline)
    assert isinstance(found, str)
    assert "is not in DVC's cache" in found


def test_images_of_another_size_give_no_maps(pipeline: Pipeline) -> None:
    add_images(pipeline, SIZE)
    keep_model(pipeline, 16)
    assert maps_of(pipeline) == (
        "No heat maps: the images of 16 px that the model of kept takes are not here."
    )


@pytest.mark.parametrize("number", [0, 1])
def test_a_model_of_the_work_tree_counts_if_it_has_the_hash(
    pipeline: Pipeline, number: int
) -> None:
    add_images(pipeline, SIZE)
    cached = keep_model(pipeline)
    own = pipeline.folder / MODEL
    own.parent.mkdir()
    own.write_bytes(cached.read_bytes())
    cached.unlink()
    with local_files(pipeline.root, FOLDER) as local:
        assert local.find(sides_of(pipeline)[number], MODEL) == own
        own.write_bytes(b"another")
        assert local.find(sides_of(pipeline)[number], MODEL) is None
