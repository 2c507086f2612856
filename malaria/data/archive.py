"""A checked view of the zip of cell images: which cells it holds, and their bytes.

`malaria.prediction.external` makes the same checks of zips and folders from elsewhere.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pandas as pd
from PIL import Image

from malaria.data.layout import FOLDERS, ROOT, SYNTHETIC, THUMBS
from malaria.errors import MalariaError

# Largest in the data: 394 px and 33 kB. The limits only keep crafted files out of memory.
MAX_SIDE = 2000
MAX_ENTRY_BYTES = 4 << 20
_SKIPPED = {ROOT, *FOLDERS, *(folder + THUMBS for folder in FOLDERS)}
UNSAFE = "has an unsafe name, which may lead out of the folder; do not use it"

# Between the patient and _IMG_ the makers wrote P61ThinF, BP2_thinF, thin_Original_Motic and more.
_NAME = re.compile(r"(C[1-9]\d*)\w*?_IMG_(\w+?)_cell_\d+\.png", re.ASCII)
_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_HEADER_BYTES = 33
_RGB = 2
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_ZIP_AGAIN = " and zip it again"  # the last part of a remedy, for an image in a zip
_CONVERT = 'convert it with Pillow, Image.open(path).convert("RGB").save(path)'
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


@dataclass(frozen=True)
class Cell:
    """What the name of a cell image in the zip says.

    cell_id: file name without .png; entry: full name in the zip; label: 1 parasitized, 0
    uninfected; patient: C47; slide: the official slide id; photo: date and time of the
    photograph, unique within the slide. The last three are '' if a name from elsewhere does
    not give them.
    """

    cell_id: str
    entry: str
    label: int
    patient: str
    slide: str
    photo: str


def open_archive(path: Path) -> ZipFile:
    """Return the zip, open for reading; use it in a `with`.

    Raises MalariaError if the file is missing, not a zip, or has a damaged table of contents.
    """
    if not path.is_file():
        raise MalariaError(
            f"{path} is missing; get it with `uv run dvc repro fetch` or correct the path."
        )
    try:
        return ZipFile(path)
    except (*_UNREADABLE, ValueError, struct.error) as error:
        raise MalariaError(
            f"{path} is not readable as a zip ({error}); delete it and get it again (the "
            "pipeline's with `uv run dvc repro fetch`), or correct the path."
        ) from None


def describe(archive: ZipFile) -> str:
    """Return what the cells are: 'synthetic smears' if the zip's comment says so."""
    return SYNTHETIC if archive.comment == SYNTHETIC.encode() else "real cells"


def list_cells(archive: ZipFile) -> list[Cell]:
    """Return every cell of the zip, sorted by file name.

    Raises MalariaError for a zip that is not in the official layout; no file is skipped but
    Thumbs.db in a class folder.
    """
    cells = [cell for info in archive.infolist() if (cell := _cell(archive, info)) is not None]
    for folder, label in FOLDERS.items():
        if not any(cell.label == label for cell in cells):
            raise MalariaError(
                f"{archive.filename} has no cell in {folder}, and both classes are needed; "
                "use the official zip, or make one in its layout."
            )
    return in_order(archive.filename, cells)


def table_of_cells(archive: ZipFile) -> pd.DataFrame:
    """Return the cells of the zip as a table, one row per cell: what its name and header say."""
    cells = list_cells(archive)
    table = pd.DataFrame(cells).drop(columns="entry")
    table[["width", "height"]] = [png_size(archive, cell) for cell in cells]
    return table


def in_order(source: object, cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells sorted by file name; `source` is for the message.

    Raises MalariaError if two have the same.
    """
    ordered = sorted(cells, key=lambda cell: cell.cell_id + ".png")
    for cell, following in pairwise(ordered):
        if cell.cell_id == following.cell_id:
            raise MalariaError(
                f"{source} has the file name {cell.cell_id}.png more than once ({cell.entry!r} "
                f"and {following.entry!r}); delete or rename all but one."
            )
    return ordered


def png_size(archive: ZipFile, cell: Cell) -> tuple[int, int]:
    """Return width and height in pixels, from the first bytes of the PNG.

    Raises MalariaError if it is not an 8-bit RGB PNG of 1 to 2000 px a side.
    """
    return _size_in_header(_read(archive, cell.entry, _HEADER_BYTES), cell.entry)


def read_entry(source: ZipFile | Path, cell: Cell) -> bytes:
    """Return the bytes of one PNG; from a zip, checked against the CRC there.

    Raises MalariaError if they are damaged, or not readable in the folder.
    """
    if isinstance(source, ZipFile):
        return _read(source, cell.entry)
    try:
        return (source / cell.entry).read_bytes()
    except OSError as error:
        raise fault(source, cell.entry, f"cannot be read ({error.strerror}); fix that") from None


def decode(content: bytes, name: str, then: str = _ZIP_AGAIN) -> Image.Image:
    """Return the image in the bytes of a PNG, decoded, in mode RGB.

    Raises MalariaError if it is truncated, damaged, or not what `png_size` accepts; `name` and
    `then`, the end of the remedy, are for its message.
    """
    _size_in_header(content[:_HEADER_BYTES], name, then)
    try:
        # Pillow's decoder does not check the checksums of the pixel data; its verify does.
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise MalariaError(
            f"{name!r} does not decode ({error}); replace it by the original PNG{then}."
        ) from None
    return image


def cell_of(entry: str, label: int) -> Cell | None:
    """Return the cell that a file name describes; None if it has not the official form.

    `label` is what its folder says.
    """
    file_name = entry.rpartition("/")[2]
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    return Cell(
        cell_id=file_name.removesuffix(".png"),
        entry=entry,
        label=label,
        patient=match[1],
        slide=file_name.split("_IMG")[0],
        photo=match[2],
    )


def check_entry(archive: ZipFile, info: ZipInfo) -> None:
    """Raise MalariaError for what no zip should hold, whatever its layout."""
    # zipfile rewrites some names (NUL bytes, backslashes on Windows); judge the written one.
    name = info.orig_filename
    if name != info.filename:
        raise fault(archive.filename, name, UNSAFE)
    check_name(archive.filename, name)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise fault(archive.filename, name, "is a symbolic link; zip the file itself")
    if info.flag_bits & 1:
        raise fault(archive.filename, name, "is encrypted; zip it without a password")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise fault(archive.filename, name, "is neither stored nor deflated; zip it with deflate")


def check_name(source: object, name: str) -> None:
    """Raise MalariaError for a name that may lead out of the folder it is written to."""
    if "\\" in name or re.match("/|[A-Za-z]:", name) or ".." in name.split("/"):
        raise fault(source, name, UNSAFE)


def check_bytes(source: object, entry: str, count: int) -> None:
    """Raise MalariaError for more bytes than a cell may have."""
    if count > MAX_ENTRY_BYTES:
        limit = f"more than the {MAX_ENTRY_BYTES} that a cell may have"
        raise fault(source, entry, f"declares {count} bytes, {limit}; remove it")


def fault(source: object, entry: str, text: str) -> MalariaError:
    """Return the error for an entry of a zip, or a file of a folder."""
    return MalariaError(f"{source}: the entry {entry!r} {text}.")


def _cell(archive: ZipFile, info: ZipInfo) -> Cell | None:
    """Return the cell of an entry; None for a known folder or Thumbs.db. Refuse all else."""
    check_entry(archive, info)
    entry = info.filename
    if entry.startswith(ROOT + ROOT):
        raise fault(
            archive.filename,
            entry,
            "lies in a second cell_images folder, as in the copy on Kaggle; use the official "
            "zip, or unpack this one and zip only the innermost cell_images folder",
        )
    if entry in _SKIPPED:
        return None
    folder, _, file_name = entry.rpartition("/")
    label = FOLDERS.get(f"{folder}/")
    if label is None or not file_name.endswith(".png"):
        raise fault(
            archive.filename,
            entry,
            f"has no place in it: only PNG files and {THUMBS} in {' and '.join(FOLDERS)} (in "
            "this very spelling) may be there; use the official zip, or remove or move the entry",
        )
    cell = cell_of(entry, label)
    if cell is None:
        raise fault(
            archive.filename,
            entry,
            "has not the form C100P61ThinF_IMG_20150918_144104_cell_162.png, which gives patient "
            "and slide; rename or remove it",
        )
    check_bytes(archive.filename, entry, info.file_size)
    return cell


def _read(archive: ZipFile, entry: str, count: int = -1) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(count)
    except _UNREADABLE as error:
        raise fault(
            archive.filename, entry, f"cannot be read ({error}); delete the zip and fetch it again"
        ) from None


def _size_in_header(header: bytes, name: str, then: str = _ZIP_AGAIN) -> tuple[int, int]:
    """Return width and height from the first 33 bytes of a PNG: signature and IHDR chunk."""
    if len(header) < _HEADER_BYTES or not header.startswith(_PNG_START):
        raise MalariaError(f"{name!r} is not a PNG; replace it by one or remove it.")
    if zlib.crc32(header[12:29]) != int.from_bytes(header[29:33], "big"):
        raise MalariaError(f"{name!r} has a damaged PNG header; replace it by the original PNG.")
    width, height, depth, colour = struct.unpack(">IIBB", header[16:26])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise MalariaError(
            f"{name!r} is {width} x {height} px, but a cell has 1 to {MAX_SIDE} px a side; "
            "crop it to one cell or remove it."
        )
    if depth != 8 or colour != _RGB:
        kind = _COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise MalariaError(f"{name!r} is {depth}-bit {kind}, not 8-bit RGB; {_CONVERT}{then}.")
    return width, height
