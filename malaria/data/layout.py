"""The layout of the official zip, and how an entry is written so that its bytes never vary."""

import zipfile

ROOT = "cell_images/"
# 1 = parasitized, the positive class of every metric.
FOLDERS = {"cell_images/Parasitized/": 1, "cell_images/Uninfected/": 0}
# The one file of the official zip that is not an image.
THUMBS = "Thumbs.db"
# What systems leave in folders and in zips of them, besides hidden files.
_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
# The official one holds thumbnails of all patients; this is only its magic number.
THUMBS_CONTENT = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(504)
# The comment of a zip that was drawn; it follows the numbers made from it.
SYNTHETIC = "synthetic smears"

DATE = (2018, 4, 6, 0, 0, 0)
FOLDER_MODE = (0o755 << 16) | 0x10
FILE_MODE = 0o644 << 16


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
