"""Crops in files: what is read, what is refused, and that the pixels are the pipeline's."""

import os
from pathlib import Path

import numpy as np
import pytest

from malaria.data.archive import Cell
from malaria.data.images import write_images
from malaria.errors import MalariaError
from malaria.registry.crops import LISTED, list_crops, write_crops
from tests.conftest import png, random_images

PIXELS = random_images(1, 30)[0][:, :22]


def written(files: list[Path], folder: Path, size: int = 12) -> np.ndarray:
    write_crops(files, size, folder / "out.npy")
    return np.asarray(np.load(folder / "out.npy"))


def test_the_pixels_are_those_of_the_preprocess_stage(tmp_path: Path) -> None:
    images = random_images(40, 30)
    files = [tmp_path / f"{number:02}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        file.write_bytes(png(image))
    cells = [Cell(file.stem, file.name, 0, "", "", "") for file in files]
    write_images(tmp_path, cells, 12, tmp_path / "pipeline.npy")
    expected = np.load(tmp_path / "pipeline.npy")
    assert np.array_equal(written(files, tmp_path), expected)
    assert np.array_equal(written(files[::-1], tmp_path), expected[::-1])


def test_crops_that_are_unlike_the_cells_are_named_in_a_warning(tmp_path: Path) -> None:
    cell = random_images(1, 60)[0]
    cell[:, :20] = 0
    files = [tmp_path / "cell.png", tmp_path / "dot.png"]
    for file, image in zip(files, (cell, cell[:1, :1]), strict=True):
        file.write_bytes(png(image))
    assert write_crops(files[:1], 12, tmp_path / "out.npy") == ""
    said = write_crops(files, 12, tmp_path / "out.npy")
    assert said.startswith("1 of 2 crops is unlike any cell of the set (40 to 400 px a side, at ")
    assert said.endswith(f"so its label means nothing: '{files[1]}' is 1 x 1 px")


def test_all_broken_files_are_named_and_those_that_cannot_be_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(LISTED + 4)]
    for file in files[2:]:
        file.write_bytes(b"")
    files[0].write_bytes(png(PIXELS))
    with pytest.raises(MalariaError) as caught:
        written(files, tmp_path)
    said = str(caught.value)
    start = f"{LISTED + 3} of {LISTED + 4} files are not usable, so nothing was predicted: "
    first = f"'{files[1]}' cannot be read (No such file or directory); fix that."
    assert said.startswith(f"{start}{first} '{files[2]}'")
    assert said.endswith(" or remove it. And 3 more.")
    assert str(files[0]) not in said
    assert said.count(".png") == LISTED


def test_folders_are_read_in_order_and_each_file_once(tmp_path: Path) -> None:
    for name in (
        "b/2.png",
        "b/1.tif",
        "a.jpg",
        ".hidden/x.png",
        ".DS_Store",
        "b/desktop.ini",
        "__MACOSX/x.png",
        "b/Thumbs.db",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b/3.png").symlink_to(tmp_path / "a.jpg")
    b = tmp_path / "b"
    below = [b / "1.tif", b / "2.png", b / "3.png"]
    assert list_crops([b / "2.png", tmp_path]) == [below[1], tmp_path / "a.jpg", below[0], below[2]]


def test_paths_that_are_not_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "new\nline.png").write_bytes(b"")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/link").symlink_to(tmp_path / "empty")
    for name, said in (
        ("gone.png", "gone.png is not a file; name image files"),
        ("empty", "there is no image in "),
        ("pipe", "pipe is not a file"),
        ("new\nline.png", "cannot be printed; rename the file"),
        ("linked", "link is a link to a folder; name that folder itself"),
    ):
        with pytest.raises(MalariaError, match=said):
            list_crops([tmp_path / name])
