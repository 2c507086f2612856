"""The table of cells and the array of their images belong together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from malaria.core.table import (
    COLUMNS,
    describe_data,
    open_images,
    order_digest,
    read_cells,
    write_cells,
    write_order,
)
from malaria.errors import MalariaError
from tests.conftest import random_images

SIZE = 16


def table(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"cell_id": pd.Series(ids, dtype="string")})


def write_array(folder: Path, ids: list[str]) -> tuple[Path, Path]:
    """Write one image per cell id and the digest of their order; return both paths."""
    images, order = folder / "images.npy", folder / "images.json"
    np.save(images, random_images(len(ids), SIZE))
    write_order(order, ids, SIZE, "from a test")
    return images, order


def test_the_digest_of_an_order_is_that_of_the_ids_one_per_line() -> None:
    expected = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
    assert order_digest(["a", "b"]) == expected  # printf 'a\nb' | sha256sum
    assert order_digest(["b", "a"]) != expected
    assert order_digest(["ab"]) != expected


def test_the_order_file_says_how_many_images_of_which_kind_and_size(tmp_path: Path) -> None:
    write_order(tmp_path / "images.json", ["b", "a"], 64, "80 patients")
    content = {"data": "80 patients", "images": 2, "size": 64}
    content |= {"order_sha256": order_digest(["b", "a"])}
    assert json.loads((tmp_path / "images.json").read_text()) == content


@pytest.mark.parametrize(
    ("splits", "leaky"),
    [
        (["train", "train", "val"], False),
        (["train", "dropped", "val"], False),
        (["train", "test", "val"], True),
    ],
)
def test_data_are_described_as_leaky_if_a_patient_is_in_several_splits(
    tmp_path: Path, splits: list[str], leaky: bool
) -> None:
    _, order = write_array(tmp_path, ["a", "b", "c"])
    cells = table(["a", "b", "c"]).assign(patient=["C1", "C1", "C2"], split=splits)
    description = describe_data(order, cells)
    assert description.startswith("from a test")
    assert ("LEAKY" in description) == leaky


def test_images_of_the_same_cells_open_without_being_read(tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    array = open_images(*write_array(tmp_path, ids), table(ids))
    assert isinstance(array, np.memmap)
    assert (array == random_images(3, SIZE)).all()
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("ids", "saved"),
    [
        (["a", "c", "b"], 3),
        (["a", "b", "d"], 3),
        (["a", "b"], 3),
        (["a", "b", "c", "d"], 3),
        (["a", "b", "c"], 2),
    ],
    ids=["order", "cell", "fewer", "more", "array"],
)
def test_images_of_other_cells_are_refused(ids: list[str], saved: int, tmp_path: Path) -> None:
    images, order = write_array(tmp_path, ["a", "b", "c"])
    np.save(images, random_images(saved, SIZE))
    with pytest.raises(MalariaError, match=rf"{saved} images.*uv run dvc repro"):
        open_images(images, order, table(ids))


def test_the_table_of_cells_is_read_as_it_was_written(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        {
            "cell_id": ["C2thinF_IMG_20150604_104722_cell_1", "b"],
            "label": [0, 1],
            "patient": ["C2", "C10"],
            "slide": ["C2thinF", "C10thinF"],
            "photo": ["20150604", "20150605"],  # digits stay text
            "width": [46, 394],
            "height": [40, 385],
            "split": ["train", "test"],
            "not_a_column": [1, 2],
        }
    )
    write_cells(cells, tmp_path / "cells.csv")
    read = read_cells(tmp_path / "cells.csv")
    assert list(read) == COLUMNS
    assert_frame_equal(read, cells[COLUMNS], check_dtype=False)
    assert read["photo"].dtype == "string"
    assert read["label"].dtype == "int64"


def test_the_table_has_the_same_bytes_on_every_system(tmp_path: Path) -> None:
    cells = pd.DataFrame({column: ["x"] for column in COLUMNS})
    write_cells(cells, tmp_path / "cells.csv")
    expected = ",".join(COLUMNS) + "\nx,x,x,x,x,x,x,x\n"
    assert (tmp_path / "cells.csv").read_bytes() == expected.encode()


def test_files_that_are_not_images_are_named_and_no_code_in_them_runs(tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    images, order = write_array(tmp_path, ids)
    whole, ran = images.read_bytes(), tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (ran,)

    wrong = {
        "pickled": np.array([Hostile()], dtype=object),
        "another type": np.zeros((3, SIZE, SIZE, 3), "float32"),
        "another shape": np.zeros((3, SIZE, SIZE), np.uint8),
    }
    for name, array in wrong.items():
        np.save(images, array, allow_pickle=True)
        with pytest.raises(MalariaError, match="are not the images of stage") as caught:
            open_images(images, order, table(ids))
        assert str(images) in str(caught.value), name
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    for content in (b"", b"text", whole[:50], whole[:-1], (tmp_path / "several.npz").read_bytes()):
        images.write_bytes(content)
        with pytest.raises(MalariaError, match="dvc repro"):
            open_images(images, order, table(ids))
    images.unlink()
    with pytest.raises(MalariaError, match="No such file"):
        open_images(images, order, table(ids))
    images.write_bytes(whole)
    for text in ("", "{}", "[]", '{"order'):
        order.write_text(text)
        with pytest.raises(MalariaError, match="dvc repro"):
            open_images(images, order, table(ids))
    assert not ran.exists()
