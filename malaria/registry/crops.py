"""Single cells in image files, decoded and resized as the pipeline does it."""

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from malaria.data.archive import MAX_ENTRY_BYTES, MAX_SIDE, decode
from malaria.data.images import resize
from malaria.data.layout import THUMBS
from malaria.errors import MalariaError

FORMATS = ["JPEG", "TIFF"]  # in addition to PNG, which the pipeline's own decoder reads
PNG_START = b"\x89PNG"
LISTED = 10  # faults in a message
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def list_crops(paths: Sequence[Path]) -> list[Path]:
    """Return the files among the paths and those below the folders among them, each once.

    Folders are read in the order of their file names, without hidden files and Thumbs.db. Raises
    MalariaError for a path that does not exist, a folder that cannot be read or is a link inside
    another, and if there is no file at all.
    """
    found = [file for path in paths for file in (_below(path) if path.is_dir() else [path])]
    for path in found:
        if not path.is_file():
            raise MalariaError(f"{path} is not a file; name image files, or folders of them.")
        if not str(path).isprintable():
            raise MalariaError(f"the file name {str(path)!r} cannot be printed; rename the file.")
    if not found:
        raise MalariaError(
            f"there is no image in {', '.join(map(str, paths))}; name image files, or folders of "
            "them."
        )
    return list(dict.fromkeys(found))


def decode_crop(content: bytes, name: str) -> np.ndarray:
    """Return the uint8 (H, W, 3) RGB pixels in the bytes of a PNG, JPEG or TIFF.

    `name` is for the message. A JPEG or TIFF is turned as its EXIF orientation says. Raises
    MalariaError for what is not one of the three, damaged, not 8-bit RGB, of several pages, or of
    more bytes or pixels than a cell may have.
    """
    if len(content) > MAX_ENTRY_BYTES:
        raise MalariaError(
            f"{name!r} has more than the {MAX_ENTRY_BYTES} bytes that a cell may have; crop it to "
            "one cell or remove it."
        )
    if content.startswith(PNG_START):
        return np.asarray(decode(content, name, then=""))
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (*UNREADABLE, Image.DecompressionBombError):
        raise MalariaError(
            f"{name!r} is not a PNG, JPEG or TIFF; replace it by one or remove it."
        ) from None
    if max(image.size) > MAX_SIDE:
        raise MalariaError(
            f"{name!r} is {image.width} x {image.height} px, but a cell has 1 to {MAX_SIDE} px a "
            "side; crop it to one cell or remove it."
        )
    pages = getattr(image, "n_frames", 1)
    if image.mode != "RGB" or pages > 1:
        what = f"has {pages} pages" if pages > 1 else f"has the mode {image.mode}, not 8-bit RGB"
        raise MalariaError(
            f"{name!r} {what}; convert it with Pillow, "
            'Image.open(path).convert("RGB").save(path.with_suffix(".png")).'
        )
    try:
        return np.asarray(ImageOps.exif_transpose(image))
    except UNREADABLE as error:
        raise MalariaError(f"{name!r} does not decode ({error}); replace it.") from None


def write_crops(files: Sequence[Path], size: int, path: Path) -> None:
    """Write the files' images as uint8 (N, size, size, 3) RGB, decoding each once.

    Memory does not grow with N. Raises MalariaError that names the files which do not decode,
    after all have been tried.
    """
    faults: list[str] = []
    shape = (len(files), size, size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda file: _read(file, size), files)
        bar = tqdm(found, total=len(files), unit="cell", desc="decode", disable=None)
        for row, image in enumerate(bar):
            if isinstance(image, MalariaError):
                faults.append(str(image))
            else:
                images[row] = image
    if faults:
        more = f" (and {len(faults) - LISTED} more)" if len(faults) > LISTED else ""
        raise MalariaError(
            f"{len(faults)} of {len(files)} files are not usable, so nothing was predicted{more}: "
            f"{' '.join(faults[:LISTED])}"
        )


def _read(file: Path, size: int) -> np.ndarray | MalariaError:
    """Return the resized image in a file, or the error that says what is wrong with it."""
    try:
        # No more than a cell may have, however large the file is.
        with file.open("rb") as opened:
            content = opened.read(MAX_ENTRY_BYTES + 1)
        return resize(decode_crop(content, str(file)), size)
    except OSError as error:
        return MalariaError(f"{str(file)!r} cannot be read ({error.strerror}); fix that.")
    except MalariaError as error:
        return error


def _below(folder: Path) -> Iterator[Path]:
    """Give the files below a folder, sorted."""
    listed: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        for name in folders:
            if Path(parent, name).is_symlink():
                raise MalariaError(
                    f"{Path(parent, name)} is a link to a folder; name that folder itself."
                )
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = (name for name in files if not name.startswith(".") and name != THUMBS)
        listed += (Path(parent, name) for name in shown)
    yield from sorted(listed)


def _refuse(error: OSError) -> None:
    raise MalariaError(f"{error.filename} cannot be read ({error.strerror}); fix that.")
