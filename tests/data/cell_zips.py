"""Small zips of cells for the tests, and what is wrong with crafted ones."""

import io
import zipfile
from pathlib import Path

from PIL import Image

SICK = "cell_images/Parasitized/"
WELL = "cell_images/Uninfected/"
CELL = "C100P61ThinF_IMG_20150918_144104_cell_162.png"
OTHER = "C1_thinF_IMG_20150604_104722_cell_9.png"
FIFTH = "C5_thinF_IMG_20150604_104722_cell_1.png"


def png(width: int = 7, height: int = 5, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert(mode).save(file, "PNG")
    return file.getvalue()


def entry(name: str, **attributes: object) -> zipfile.ZipInfo:
    """Return an entry with this very name: ZipInfo cleans it, a crafted zip has it as it is."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def write_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """Write a zip of one parasitized and one uninfected cell and `entries`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in ((SICK + CELL, png()), (WELL + OTHER, png()), *entries):
            archive.writestr(name, content)
    return path


def patched(path: Path, offset: int, value: bytes, after: bytes = b"PK\1\2") -> Path:
    """Overwrite bytes of a zip, from `offset` after the first place that has the bytes `after`."""
    content = bytearray(path.read_bytes())
    start = content.index(after) + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)
    return path
