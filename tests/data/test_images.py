"""Images of cells: decoded once, resized, in the order of the table."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from malaria.data.archive import list_cells, open_archive
from malaria.data.images import BLOCK, resize, write_images
from malaria.errors import MalariaError
from tests.conftest import png, random_images, write_cell_zip

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (20, 10, 200)
SIZE = 16


def plain(colour: tuple[int, int, int], height: int = 30, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def name(patient: int, cell: int = 1) -> str:
    return f"C{patient}thinF_IMG_20150604_104722_cell_{cell}.png"


def preprocess(folder: Path, entries: dict[str, bytes]) -> np.ndarray:
    """Return the images of a zip in the order that `list_cells` gives."""
    folder.mkdir(exist_ok=True)
    with open_archive(write_cell_zip(folder / "cells.zip", entries)) as archive:
        write_images(archive, list_cells(archive), SIZE, folder / "images.npy")
    return np.load(folder / "images.npy", mmap_mode="r")


def test_images_are_uint8_rgb_in_the_order_of_the_file_names(tmp_path: Path) -> None:
    array = preprocess(
        tmp_path,
        {  # by name C10 comes before C2, whatever the folder and the place in the zip
            f"Uninfected/{name(2)}": png(plain(GREEN)),
            f"Parasitized/{name(3)}": png(plain(BLUE)),
            f"Parasitized/{name(10)}": png(plain(RED)),
        },
    )
    assert array.dtype == np.uint8
    assert array.shape == (3, SIZE, SIZE, 3)
    for image, colour in zip(array, (RED, GREEN, BLUE), strict=True):
        assert (image == colour).all()


def test_more_cells_than_are_in_flight_at_once_are_all_written(tmp_path: Path) -> None:
    count = BLOCK + 5
    entries = {
        f"Parasitized/{name(1, 10000 + cell)}": png(plain((cell % 256, cell // 256, 7), 4, 4))
        for cell in range(count)
    }
    array = preprocess(tmp_path, entries | {f"Uninfected/{name(2)}": png(plain(RED))})
    assert len(array) == count + 1
    assert (array[:count, 8, 8, 0] + 256 * array[:count, 8, 8, 1].astype(int) == range(count)).all()


def test_the_order_of_the_zip_changes_no_byte(tmp_path: Path) -> None:
    images = random_images(6, 24)
    entries = {
        f"{'Parasitized' if cell % 2 else 'Uninfected'}/{name(cell + 1)}": png(images[cell])
        for cell in range(6)
    }
    preprocess(tmp_path / "a", entries)
    preprocess(tmp_path / "b", dict(reversed(entries.items())))
    written = [(tmp_path / folder / "images.npy").read_bytes() for folder in "ab"]
    assert written[0] == written[1]


@pytest.mark.parametrize("is_truncated", [True, False])
def test_a_cell_that_does_not_decode_is_named(is_truncated: bool, tmp_path: Path) -> None:
    whole = png(random_images(1, 40)[0])
    at = whole.index(b"IDAT") + 20
    damaged = whole[:500] if is_truncated else whole[:at] + bytes(20) + whole[at + 20 :]
    entry = f"Parasitized/{name(7)}"
    with pytest.raises(MalariaError) as caught:
        preprocess(tmp_path, {entry: damaged, f"Uninfected/{name(2)}": png(plain(GREEN))})
    assert f"cell_images/{entry}" in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_every_pixel_counts_in_an_image_that_shrinks_a_lot() -> None:
    image = np.zeros((160, 160, 3), dtype=np.uint8)
    image[::2] = 200  # stripes that a cubic of four pixels a side would alias
    assert abs(resize(image, 16).astype(int) - 100).max() <= 1
