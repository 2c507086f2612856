"""Cells and their images: decoded once, resized, in the order of the table."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from malaria.archive import list_cells, open_archive
from malaria.cells import (
    COLUMNS,
    describe_data,
    open_images,
    order_digest,
    read_cells,
    write_cells,
    write_order,
)
from malaria.errors import MalariaError
from malaria.images import BLOCK, resize, write_images
from tests.conftest import png, random_images, write_cell_zip

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (20, 10, 200)
SIZE = 16


def plain(colour: tuple[int, int, int], height: int = 30, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def name(patient: int, cell: int = 1) -> str:
    return f"C{patient}thinF_IMG_20150604_104722_cell_{cell}"


def table(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"cell_id": pd.Series(ids, dtype="string")})


def preprocess(folder: Path, entries: dict[str, bytes], size: int = SIZE) -> np.ndarray:
    """Return the images of a zip in the order that `list_cells` gives."""
    with open_archive(write_cell_zip(folder / "cells.zip", entries)) as archive:
        write_images(archive, list_cells(archive), size, folder / "images.npy")
    return np.load(folder / "images.npy", mmap_mode="r")


def write_array(folder: Path, ids: list[str]) -> tuple[Path, Path]:
    """Write one image a cell id and the digest of their order; return both paths."""
    images, order = folder / "images.npy", folder / "images.json"
    np.save(images, random_images(len(ids), SIZE))
    write_order(order, ids, SIZE, "from a test")
    return images, order


def test_images_are_uint8_rgb_in_the_order_of_the_file_names(tmp_path: Path) -> None:
    array = preprocess(
        tmp_path,
        {  # by name C10 comes before C2, whatever the folder and the place in the zip
            f"Uninfected/{name(2)}.png": png(plain(GREEN)),
            f"Parasitized/{name(3)}.png": png(plain(BLUE)),
            f"Parasitized/{name(10)}.png": png(plain(RED)),
        },
    )
    assert array.dtype == np.uint8
    assert array.shape == (3, SIZE, SIZE, 3)
    for image, colour in zip(array, (RED, GREEN, BLUE), strict=True):
        assert (image == colour).all()


def test_more_cells_than_are_in_flight_at_once_are_all_written(tmp_path: Path) -> None:
    count = BLOCK + 5
    pixels = [plain((cell % 256, cell // 256, 7), 4, 4) for cell in range(count)]
    entries = {
        f"Parasitized/{name(1, 10000 + cell)}.png": png(pixels[cell]) for cell in range(count)
    }
    array = preprocess(tmp_path, entries | {f"Uninfected/{name(2)}.png": png(plain(RED))}, size=16)
    assert len(array) == count + 1
    assert (array[:count, 8, 8, 0] + 256 * array[:count, 8, 8, 1].astype(int) == range(count)).all()


def test_the_order_of_the_zip_changes_no_byte(tmp_path: Path) -> None:
    images = random_images(6, 24)
    entries = [
        (f"{'Parasitized' if cell % 2 else 'Uninfected'}/{name(cell + 1)}.png", png(images[cell]))
        for cell in range(6)
    ]
    written = []
    for folder, order in (("a", entries), ("b", entries[::-1])):
        (tmp_path / folder).mkdir()
        preprocess(tmp_path / folder, dict(order))
        written.append((tmp_path / folder / "images.npy").read_bytes())
    assert written[0] == written[1]


def test_a_cell_that_does_not_decode_is_named(tmp_path: Path) -> None:
    whole = png(random_images(1, 40)[0])
    start = whole.index(b"IDAT")
    damaged = whole[: start + 20] + bytes(20) + whole[start + 40 :]
    entry = f"Parasitized/{name(7)}.png"
    with pytest.raises(MalariaError) as caught:
        preprocess(tmp_path, {entry: damaged, f"Uninfected/{name(2)}.png": png(plain(GREEN))})
    assert f"cell_images/{entry}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_cell_is_named(tmp_path: Path) -> None:
    entry = f"Uninfected/{name(7)}.png"
    content = png(random_images(1, 40)[0])[:500]
    with pytest.raises(MalariaError, match=name(7)):
        preprocess(tmp_path, {entry: content, f"Parasitized/{name(2)}.png": png(plain(GREEN))})


def test_an_image_is_squashed_to_a_square() -> None:
    image = plain(RED, height=20, width=60)
    image[:, 30:] = BLUE  # the border lies in the middle, before and after
    small = resize(image, 40)
    assert small.shape == (40, 40, 3)
    assert (small[:, :17] == RED).all()
    assert (small[:, 23:] == BLUE).all()


@pytest.mark.parametrize(
    ("height", "width", "method"),
    [
        (20, 20, cv2.INTER_CUBIC),  # grows
        (63, 63, cv2.INTER_CUBIC),  # shrinks by less than two
        (64, 64, cv2.INTER_AREA),
        (20, 64, cv2.INTER_AREA),  # one side is enough
        (64, 20, cv2.INTER_AREA),
        (300, 290, cv2.INTER_AREA),
    ],
)
def test_resizing_is_cubic_and_averages_areas_from_a_half_down(
    height: int, width: int, method: int
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = resize(image, 32)
    assert (small == cv2.resize(image, (32, 32), interpolation=method)).all()
    other = cv2.INTER_AREA if method == cv2.INTER_CUBIC else cv2.INTER_CUBIC
    assert (small != cv2.resize(image, (32, 32), interpolation=other)).any()


def test_every_pixel_counts_where_an_image_shrinks_a_lot() -> None:
    image = np.zeros((160, 160, 3), dtype=np.uint8)
    image[::2] = 200  # stripes that a cubic of four pixels a side would alias
    assert abs(resize(image, 16).astype(int) - 100).max() <= 1


def test_the_digest_of_an_order_is_that_of_the_ids_one_a_line() -> None:
    expected = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
    assert order_digest(["a", "b"]) == expected  # printf 'a\nb' | sha256sum
    assert order_digest(["b", "a"]) != expected
    assert order_digest(["ab"]) != expected


def test_the_order_file_says_how_many_images_of_which_kind_and_size(tmp_path: Path) -> None:
    ids = ["b", "a"]
    write_order(tmp_path / "images.json", ids, 64, "80 patients")
    assert json.loads((tmp_path / "images.json").read_text()) == {
        "data": "80 patients",
        "images": 2,
        "size": 64,
        "order_sha256": order_digest(ids),
    }


@pytest.mark.parametrize(
    ("splits", "leaky"), [(["train", "train", "val"], False), (["train", "test", "val"], True)]
)
def test_data_are_described_as_leaky_where_a_patient_is_in_several_splits(
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
    "ids",
    [["a", "c", "b"], ["a", "b", "d"], ["a", "b"], ["a", "b", "c", "d"]],
    ids=["order", "cell", "fewer", "more"],
)
def test_images_of_other_cells_are_refused(tmp_path: Path, ids: list[str]) -> None:
    images, order = write_array(tmp_path, ["a", "b", "c"])
    with pytest.raises(MalariaError, match=r"3 images.*uv run dvc repro"):
        open_images(images, order, table(ids))


def test_an_array_that_does_not_fit_its_own_order_file_is_refused(tmp_path: Path) -> None:
    images, order = write_array(tmp_path, ["a", "b", "c"])
    np.save(images, random_images(2, SIZE))
    with pytest.raises(MalariaError, match="2 images"):
        open_images(images, order, table(["a", "b", "c"]))


def test_the_table_of_cells_is_read_as_it_was_written(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        {
            "cell_id": [name(2), name(10)],
            "label": [0, 1],
            "patient": ["C2", "C10"],
            "slide": ["C2thinF", "C10thinF"],
            "photo": ["20150604", "20150605"],  # digits alone stay text
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
    assert (tmp_path / "cells.csv").read_bytes() == b"%b\nx,x,x,x,x,x,x,x\n" % (
        ",".join(COLUMNS).encode()
    )
