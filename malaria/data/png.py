"""The structure of a PNG, checked before a decoder sees it, so that its header can be trusted.

Source: Portable Network Graphics (PNG) Specification, third edition, W3C 2025.
"""

import struct
import zlib
from collections.abc import Iterator

from malaria.data.remedies import MAX_SIDE, ON_BLACK, ONE_FRAME, SCALED, TO_RGB
from malaria.errors import MalariaError

HEADER_BYTES = 33
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_START = _SIGNATURE + b"\x00\x00\x00\rIHDR"
_RGB, _PALETTE = 2, 3
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_OPAQUE = {0, 2}
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
# Start and step of columns, then of rows, in each pass of an interlaced image.
_PASSES = (
    *((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4)),
    *((0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
)


def size_in_header(header: bytes, name: str, then: str) -> tuple[int, int]:
    """Return width and height from the first 33 bytes of a PNG: signature and IHDR chunk.

    Raises MalariaError if it is not an 8-bit RGB PNG of 1 to 2000 px a side; `name` and `then`,
    the end of the remedy, are for its message.
    """
    if len(header) < HEADER_BYTES or not header.startswith(_PNG_START):
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
        remedy = SCALED if depth > 8 else TO_RGB if colour in _OPAQUE else ON_BLACK
        raise MalariaError(f"{name!r} is {depth}-bit {kind}, not 8-bit RGB; {remedy}{then}.")
    return width, height


def check(content: bytes, name: str, then: str) -> tuple[bytes, bytes]:
    """Return an 8-bit RGB PNG that is whole without its optional parts, and its EXIF data.

    Memory does not grow with what the file declares. Raises MalariaError as `size_in_header`
    does and for several frames, and ValueError or zlib.error for damage: a wrong checksum, no end,
    a second header, no or too little pixel data, a chunk that a decoder must know and does not.
    """
    size = size_in_header(content[:HEADER_BYTES], name, then)
    kept, pixels, others = _sorted_chunks(content)
    if _ANIMATION & others.keys():
        raise MalariaError(f"{name!r} has several frames; {ONE_FRAME}{then}.")
    if b"tRNS" in others:
        raise MalariaError(f"{name!r} has a transparent colour; {ON_BLACK}{then}.")
    if content[26:28] != b"\0\0" or content[28] > 1:
        raise ValueError("its header names an unknown method")
    stream, expected = zlib.decompressobj(), _count(*size, is_interlaced=content[28] == 1)
    if len(stream.decompress(pixels, expected + 1)) != expected or not stream.eof:
        raise ValueError(f"its pixel data is not that of {size[0]} x {size[1]} px")
    return kept, others.get(b"eXIf", b"")


def _sorted_chunks(content: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """Return the PNG without optional chunks, its pixel data, and those chunks by kind.

    Raises ValueError for a structure that a decoder may read differently.
    """
    kept, pixels = [_SIGNATURE], list[bytes]()
    others: dict[bytes, bytes] = {}
    before = b""
    for kind, whole in _chunks(content):
        is_first = before == b""
        if kind == b"IHDR" and not is_first:
            raise ValueError("it has a second header")
        if kind == b"IDAT" and pixels and before != kind:
            raise ValueError("its pixel data is in several places")
        if kind in _CRITICAL:
            kept.append(whole)
        elif kind[0] & 32 == 0:
            raise ValueError(f"it has the unknown critical chunk {kind.decode()}")
        else:
            others[kind] = whole[8:-4]
        if kind == b"IDAT":
            pixels.append(whole[8:-4])
        before = kind
    if not pixels:
        raise ValueError("it has no pixel data")
    return b"".join(kept), b"".join(pixels), others


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the kind and the bytes of each chunk up to the end of the image."""
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content[start : start + 8].ljust(8, b"\0"))
        end = start + 12 + length
        if end > len(content):
            raise ValueError("it is cut off")
        if not kind.isalpha():
            raise ValueError("a chunk has no name")
        whole = content[start:end]
        if zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode()} is wrong")
        yield kind, whole
        start = end


def _count(width: int, height: int, is_interlaced: bool) -> int:
    """Return the bytes of the filtered rows of an 8-bit RGB image."""
    passes = _PASSES if is_interlaced else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + 3 * columns)
    return total
