"""The tags of a TIFF, which EXIF data are too, read without copying what they point to.

Source: TIFF Revision 6.0, Adobe 1992, section 2.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 262, 274
TILE = (322, 323)  # width and height of a tile
_BELOW = (34665, 34853, 40965)  # tags that point to more tags: EXIF, GPS, interoperability
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {3: "H", 4: "I", 13: "I"}
_MOST_NUMBERS = 16


@dataclass(frozen=True)
class Directory:
    """The tags of one page."""

    numbers: Mapping[int, tuple[int, ...]]  # the values of short tags of whole numbers
    count: int  # bytes of all values, also below the tags that point to more tags
    following: int  # where the next page begins; 0 if there is none


def read_directory(content: bytes) -> Directory:
    """Return the first directory; raises ValueError if the tags do not lie in the bytes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        raise ValueError("it does not begin as a TIFF does")
    (first,) = struct.unpack(f"{order}I", content[4:8].ljust(4, b"\0"))
    return _read(content, first, order, depth=2)


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, in EXIF data; 1, upright, if they do not say."""
    try:
        (found,) = read_directory(exif).numbers.get(ORIENTATION, (1,))
    except ValueError:
        return 1
    return found if 1 <= found <= 8 else 1


def _read(content: bytes, start: int, order: str, depth: int) -> Directory:
    numbers: dict[int, tuple[int, ...]] = {}
    total = 0
    try:
        (entries,) = struct.unpack_from(f"{order}H", content, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", content, at)
            size = _SIZES.get(kind, 1) * count
            (where,) = struct.unpack_from(f"{order}I", content, at + 8) if size > 4 else (at + 8,)
            if where + size > len(content):
                raise ValueError(f"the tag {tag} lies beyond its end")
            total += size
            if kind in _NUMBERS and count <= _MOST_NUMBERS:
                form = f"{order}{count}{_NUMBERS[kind]}"
                numbers[tag] = struct.unpack_from(form, content, where)
        (following,) = struct.unpack_from(f"{order}I", content, start + 2 + 12 * entries)
    except struct.error:
        raise ValueError("it is cut off") from None
    if depth:
        below = [numbers[tag][0] for tag in _BELOW if numbers.get(tag)]
        total += sum(_read(content, at, order, depth - 1).count for at in below)
    return Directory(numbers, total, following)
