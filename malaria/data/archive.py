"""A checked view of the zip of cell images: which cells it holds, and their bytes.

`malaria.prediction.external` makes the same checks of zips and folders from elsewhere.
"""

import os
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

from malaria.data import png
from malaria.data.layout import FOLDERS, ROOT, SYNTHETIC, THUMBS
from malaria.data.remedies import MAX_ENTRY_BYTES
from malaria.errors import MalariaError

_SKIPPED = {ROOT, *FOLDERS, *(folder + THUMBS for folder in FOLDERS)}
UNSAFE = "has an unsafe name, which may lead out of the folder; do not use it"

# Between the patient and _IMG_ the makers wrote P61ThinF, BP2_thinF, thin_Original_Motic and more.
_NAME = re.compile(r"(C[1-9]\d{0,8})(?!\d)\w*?_IMG_(\w+?)_cell_\d+\.(?i:png|jpe?g|tiff?)", re.ASCII)
SHOWN_NAME = 400  # characters of an entry in a message
MAX_NAME_BYTES = 255  # of a file's name, as file systems have it
ZIP_AGAIN = " and zip it again"  # the last part of a remedy, for an image in a zip
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
        reason = str(error)
        if _begins_as_zip(path) and isinstance(error, zipfile.BadZipFile):
            reason = f"it is cut off after {path.stat().st_size} bytes, or damaged: {error}"
        raise MalariaError(
            f"{path} is not readable as a zip ({reason}); delete it and get it again (the "
            "pipeline's with `uv run dvc repro fetch`), or correct the path."
        ) from None


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


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
                f"{source} has the file name {cell.entry.rpartition('/')[2]} more than once "
                f"({cell.entry!r} and {following.entry!r}); delete or rename all but one."
            )
    return ordered


def png_size(archive: ZipFile, cell: Cell) -> tuple[int, int]:
    """Return width and height in pixels, from the first bytes of the PNG.

    Raises MalariaError if it is not an 8-bit RGB PNG of 1 to 2000 px a side.
    """
    return png.size_in_header(
        read_bytes(archive, cell.entry, png.HEADER_BYTES), cell.entry, ZIP_AGAIN
    )


def read_entry(source: ZipFile | Path, cell: Cell) -> bytes:
    """Return the bytes of one PNG; from a zip, checked against the CRC there.

    Raises MalariaError if they are damaged, or not readable in the folder.
    """
    if isinstance(source, ZipFile):
        return read_bytes(source, cell.entry)
    try:
        return (source / cell.entry).read_bytes()
    except OSError as error:
        raise fault(source, cell.entry, f"cannot be read ({error.strerror}); fix that") from None


def cell_of(entry: str, label: int) -> Cell | None:
    """Return the cell that a file name describes; None if it has not the official form.

    `label` is what its folder says.
    """
    file_name = entry.rpartition("/")[2]
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    return Cell(
        cell_id=file_name.rpartition(".")[0],
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
    """Raise MalariaError for a name that may lead out of its folder, or is too long."""
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in name.split("/")):
        raise fault(source, name, f"has a name of more than {MAX_NAME_BYTES} bytes; shorten it")
    if "\\" in name or re.match("/|[A-Za-z]:", name) or ".." in name.split("/"):
        raise fault(source, name, UNSAFE)


def check_bytes(source: object, entry: str, count: int) -> None:
    """Raise MalariaError for more bytes than a cell may have."""
    if count > MAX_ENTRY_BYTES:
        limit = f"more than the {MAX_ENTRY_BYTES} that a cell may have"
        raise fault(source, entry, f"declares {count} bytes, {limit}; remove it")


def fault(source: object, entry: str, text: str) -> MalariaError:
    """Return the error for an entry of a zip, or a file of a folder."""
    shown = entry if len(entry) <= SHOWN_NAME else f"{entry[:SHOWN_NAME]}..."
    return MalariaError(f"{source}: the entry {shown!r} {text}.")


def _cell(archive: ZipFile, info: ZipInfo) -> Cell | None:
    """Return the cell of an entry; None for a known folder or Thumbs.db. Refuse all else."""
    check_entry(archive, info)
    entry = info.filename
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


def read_bytes(archive: ZipFile, entry: str | ZipInfo, count: int = -1) -> bytes:
    """Return the first bytes of an entry, or all, which are checked against the CRC there.

    Raises MalariaError if they are damaged.
    """
    try:
        with archive.open(entry) as file:
            return file.read(count)
    except _UNREADABLE as error:
        name = entry if isinstance(entry, str) else entry.filename
        raise fault(
            archive.filename, name, f"cannot be read ({error}); delete the zip and get it again"
        ) from None
