"""The layout of the official zip, and a zip in it whose bytes follow from its cells alone."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = "cell_images/"
# 1 = parasitized, the positive class of every metric.
FOLDERS = {"cell_images/Parasitized/": 1, "cell_images/Uninfected/": 0}
# The same by the folders' own names; a cell's place is one of these, a slash and its file name.
CLASSES = {folder.removeprefix(ROOT).rstrip("/"): label for folder, label in FOLDERS.items()}
# The one file of the official zip that is not an image.
THUMBS = "Thumbs.db"
# What systems and sync programs leave in folders and in zips of them, besides hidden files.
_OF_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "@eadir"),
}
# The official one holds thumbnails of all patients; this is only its magic number.
THUMBS_CONTENT = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(504)
# The comment of a zip that was drawn; it follows the numbers made from it.
SYNTHETIC = "synthetic smears"

DATE = (2018, 4, 6, 0, 0, 0)
FOLDER_MODE = (0o755 << 16) | 0x10
FILE_MODE = 0o644 << 16
_LOCAL, _CENTRAL, _END = 30, 46, 22  # bytes of the headers of a zip, without names


def is_passed_over(name: str) -> bool:
    """Return whether the name of a file or folder is one that a system gave, not a person."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def store(archive: zipfile.ZipFile, name: str, content: bytes = b"") -> None:
    """Add a file, or a folder if `name` ends in a slash, uncompressed and with a fixed date."""
    entry = zipfile.ZipInfo(name, DATE)
    entry.external_attr = FOLDER_MODE if name.endswith("/") else FILE_MODE
    # Unix: the default would be 0 on Windows, and the bytes must not depend on the machine.
    entry.create_system = 3
    archive.writestr(entry, content)


def in_zip_order(places: Iterable[str]) -> list[str]:
    """Return places of cells in the order of the zip: by class, then by file name."""
    order = list(CLASSES)
    return sorted(places, key=lambda place: (order.index(place.split("/")[0]), place))


def write_cells(draft: Path, cells: Iterable[tuple[str, bytes]]) -> None:
    """Write the zip of cells, given as place and PNG in the order of the zip.

    Each class folder is an entry before its cells, and a placeholder of Thumbs.db follows them.
    """
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        folder = ""
        for place, content in cells:
            own = ROOT + place.split("/")[0] + "/"
            if own != folder:
                if folder:
                    store(archive, folder + THUMBS, THUMBS_CONTENT)
                store(archive, own)
                folder = own
            store(archive, ROOT + place, content)
        store(archive, folder + THUMBS, THUMBS_CONTENT)


def size_of_zip(sizes: Mapping[str, int]) -> int:
    """Return the bytes of the zip that `write_cells` makes, from the bytes of each PNG by place."""
    entries = {ROOT + place: size for place, size in sizes.items()}
    for folder in {ROOT + place.split("/")[0] + "/" for place in sizes}:
        entries |= {folder: 0, folder + THUMBS: len(THUMBS_CONTENT)}
    return _END + sum(
        _LOCAL + _CENTRAL + 2 * len(name.encode()) + size for name, size in entries.items()
    )


@cache
def first_bytes() -> bytes:
    """Return the bytes with which every zip of `write_cells` begins that has parasitized cells."""
    file = io.BytesIO()
    folder = next(iter(FOLDERS))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        store(archive, folder)
    return file.getvalue()[: _LOCAL + len(folder)]
