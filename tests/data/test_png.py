"""The bytes of a PNG: its size in the header, its pixels, and what is refused."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from malaria.data.archive import Cell, decode, list_cells, open_archive, png_size, read_entry
from malaria.errors import MalariaError
from tests.data.cell_zips import CELL, FIFTH, SICK, entry, patched, png, write_zip


def with_header(depth: int = 8, colour: int = 2, width: int = 7, height: int = 5) -> bytes:
    """Return a PNG whose header says this, its checksum right, over the same pixel data."""
    header = b"IHDR" + struct.pack(">IIBB", width, height, depth, colour) + png()[26:29]
    return png()[:12] + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]


def test_the_size_is_width_then_height_from_the_header_only(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", (SICK + FIFTH, png(31, 46)[:40]))
    with open_archive(path) as archive:
        assert png_size(archive, list_cells(archive)[-1]) == (31, 46)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a PNG; replace it"),
        (b"GIF89a" + bytes(40), "is not a PNG; replace it"),
        (png()[:30], "is not a PNG; replace it"),
        (png()[:20] + b"\1" + png()[21:], "damaged PNG header"),
        (with_header(width=0), "is 0 x 5 px, but a cell has 1 to 2000 px a side; crop it"),
        (with_header(height=2001), "is 7 x 2001 px, but a cell has 1 to 2000 px a side; crop it"),
        (png(mode="RGBA"), "is 8-bit RGB with alpha, not 8-bit RGB; convert it with Pillow, Image"),
        (png(mode="L"), "is 8-bit grey, not 8-bit RGB; convert it"),
        (png(mode="LA"), "is 8-bit grey with alpha, not"),
        (png(mode="P"), "is 8-bit palette, not"),
        (png(mode="1"), "is 1-bit grey, not"),
        (with_header(depth=16), "is 16-bit RGB, not"),
        (with_header(colour=9), "is 8-bit colour type 9, not"),
    ],
)
def test_a_wrong_header_is_refused_by_size_and_by_decoding(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", (SICK + FIFTH, content))
    with open_archive(path) as archive:
        cell = list_cells(archive)[-1]
        with pytest.raises(MalariaError) as of_size:
            png_size(archive, cell)
        with pytest.raises(MalariaError) as of_decoding:
            decode(read_entry(archive, cell), cell.entry)
    assert str(of_size.value) == str(of_decoding.value)
    assert str(of_size.value).startswith(repr(cell.entry))
    assert reason in str(of_size.value)


def test_damaged_bytes_are_caught_by_the_checksum_of_the_zip(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "a.zip"), 6, b"\0\0\0", after=b"IDAT")
    said = rf"{CELL}' cannot be read \(Bad CRC.*; delete the zip and fetch it again"
    with open_archive(path) as archive, pytest.raises(MalariaError, match=said):
        read_entry(archive, list_cells(archive)[0])


@pytest.mark.parametrize("read", [read_entry, png_size])
def test_damaged_deflated_bytes_are_named(
    read: Callable[[zipfile.ZipFile, Cell], object], tmp_path: Path
) -> None:
    info = entry(SICK + FIFTH, compress_type=zipfile.ZIP_DEFLATED)
    path = write_zip(tmp_path / "a.zip", (info, png(200, 200)))
    patched(path, len(info.filename), bytes([255]) * 20, after=info.filename.encode())
    said = rf"{FIFTH}' cannot be read .*fetch it again"
    with open_archive(path) as archive, pytest.raises(MalariaError, match=said):
        read(archive, list_cells(archive)[-1])


def test_decoding_gives_the_pixels_and_refuses_a_truncated_png() -> None:
    content = png(31, 46)
    image = decode(content, "x.png")
    assert (image.mode, image.size) == ("RGB", (31, 46))
    assert image.tobytes() == Image.open(io.BytesIO(content)).tobytes()
    for length in (40, len(content) // 2, len(content) - 13, len(content) - 5):
        with pytest.raises(MalariaError, match=r"'x\.png' does not decode \(.*original PNG"):
            decode(content[:length], "x.png")


def test_no_flipped_bit_in_the_pixel_data_goes_unseen() -> None:
    content = png(31, 46)
    at = content.index(b"IDAT")
    for position in range(at + 4, len(content) - 16, 7):
        damaged = bytearray(content)
        damaged[position] ^= 4
        with pytest.raises(MalariaError, match=r"'x\.png' does not decode"):
            decode(bytes(damaged), "x.png")
