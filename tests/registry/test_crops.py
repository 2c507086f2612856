"""Crops in files: what is read, what is refused, and that the pixels are the pipeline's."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malaria.data.archive import MAX_ENTRY_BYTES, Cell
from malaria.data.images import write_images
from malaria.errors import MalariaError
from malaria.registry.crops import LISTED, decode_crop, list_crops, write_crops
from tests.conftest import png, random_images

PIXELS = random_images(1, 30)[0][:, :22]
BLACK = Image.new("RGB", (9, 9))
ORIENTATION, TURN_RIGHT = 274, 6  # the tag of EXIF, and its value for a quarter turn


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    assert np.array_equal(decode_crop(saved(Image.fromarray(PIXELS), kind), "a"), PIXELS)


def test_a_jpeg_is_close_and_turned_as_its_exif_says() -> None:
    smooth = np.tile(np.linspace(0, 255, 16, dtype=np.uint8)[:, None, None], (1, 24, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_RIGHT
    image = Image.fromarray(smooth)
    plain = decode_crop(saved(image, "JPEG", quality=95), "a")
    assert np.abs(plain.astype(int) - smooth).max() < 12
    turned = decode_crop(saved(image, "JPEG", quality=95, exif=exif), "a")
    assert np.array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'a.x' is not a PNG, JPEG or TIFF; replace it"),
        (b"file,probability\n", "is not a PNG, JPEG or TIFF"),
        (saved(Image.fromarray(PIXELS), "GIF"), "is not a PNG, JPEG or TIFF"),
        (saved(Image.fromarray(PIXELS), "PNG")[:200], "'a.x' does not decode"),
        (saved(Image.fromarray(PIXELS), "JPEG")[:-200], "'a.x' does not decode"),
        (saved(Image.fromarray(PIXELS), "TIFF")[:900], "'a.x' does not decode"),
        (saved(Image.fromarray(PIXELS[..., 0]), "PNG"), "is 8-bit grey, not 8-bit RGB"),
        (saved(Image.fromarray(PIXELS[..., 0]), "JPEG"), "has the mode L, not 8-bit RGB; convert"),
        (saved(Image.new("CMYK", (9, 9)), "TIFF"), "has the mode CMYK, not 8-bit RGB"),
        (saved(BLACK, "TIFF", save_all=True, append_images=[BLACK]), "has 2 pages"),
        (saved(Image.new("RGB", (2001, 4)), "JPEG"), "is 2001 x 4 px, but a cell has 1 to 2000"),
        (bytes(MAX_ENTRY_BYTES + 1), f"has more than the {MAX_ENTRY_BYTES} bytes"),
    ],
)
def test_what_is_not_a_crop_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(MalariaError) as caught:
        decode_crop(content, "a.x")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "zip" not in str(caught.value)


def test_all_broken_files_are_named_and_those_that_cannot_be_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(LISTED + 4)]
    for file in files[2:]:
        file.write_bytes(b"")
    files[0].write_bytes(png(PIXELS))
    with pytest.raises(MalariaError) as caught:
        written(files, tmp_path)
    said = str(caught.value)
    start = f"{LISTED + 3} of {LISTED + 4} files are not usable, so nothing was predicted (and 3 "
    first = f"'{files[1]}' cannot be read (No such file or directory); fix that."
    assert said.startswith(f"{start}more): {first} '{files[2]}'")
    assert str(files[0]) not in said
    assert said.count(".png") == LISTED


def test_folders_are_read_in_order_and_each_file_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.tif", "a.jpg", ".hidden/x.png", ".DS_Store", "b/Thumbs.db"):
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
