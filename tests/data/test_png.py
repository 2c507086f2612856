"""The bytes of a PNG: its size in the header, its pixels, and what is refused."""

import io
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malaria.data.archive import (
    ZIP_AGAIN,
    Cell,
    list_cells,
    open_archive,
    png_size,
    read_entry,
)
from malaria.data.images import write_images
from malaria.data.pictures import decode
from malaria.errors import MalariaError
from tests.conftest import REPO, random_images
from tests.data.cell_zips import CELL, FIFTH, SICK, entry, patched, png, write_zip


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def header(width: int, height: int, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))


def crafted(*chunks: bytes, end: bytes = chunk(b"IEND")) -> bytes:
    """Return a PNG of 30 x 30 px with these chunks after its header."""
    return b"".join([SIGNATURE, header(30, 30), *chunks, end])


def bomb(count: int) -> bytes:
    """Return the compressed form of so many million zeros."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(count)), packer.flush()])


SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Of columns and rows of each pass: where it starts, and its step.
PASSES = (
    *((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4)),
    *((0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
)
ROWS = (b"\0" + bytes(range(90))) * 30
PACKED = zlib.compress(ROWS)
DATA = chunk(b"IDAT", PACKED)


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
        (png(mode="RGBA"), "is 8-bit RGB with alpha, not 8-bit RGB; put it on black with Pillow"),
        (png(mode="L"), "is 8-bit grey, not 8-bit RGB; convert it"),
        (png(mode="LA"), "is 8-bit grey with alpha, not"),
        (png(mode="P"), "is 8-bit palette, not"),
        (png(mode="1"), "is 1-bit grey, not"),
        (with_header(depth=16), "is 16-bit RGB, not 8-bit RGB; scale it by the largest value of"),
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
            decode(read_entry(archive, cell), cell.entry, ZIP_AGAIN, only_png=True)
    assert str(of_size.value) == str(of_decoding.value)
    assert str(of_size.value).startswith(repr(cell.entry))
    assert reason in str(of_size.value)


def test_damaged_bytes_are_caught_by_the_checksum_of_the_zip(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "a.zip"), 6, b"\0\0\0", after=b"IDAT")
    said = rf"{CELL}' cannot be read \(Bad CRC.*; delete the zip and get it again"
    with open_archive(path) as archive, pytest.raises(MalariaError, match=said):
        read_entry(archive, list_cells(archive)[0])


@pytest.mark.parametrize("read", [read_entry, png_size])
def test_damaged_deflated_bytes_are_named(
    read: Callable[[zipfile.ZipFile, Cell], object], tmp_path: Path
) -> None:
    info = entry(SICK + FIFTH, compress_type=zipfile.ZIP_DEFLATED)
    path = write_zip(tmp_path / "a.zip", (info, png(200, 200)))
    patched(path, len(info.filename), bytes([255]) * 20, after=info.filename.encode())
    said = rf"{FIFTH}' cannot be read .*get it again"
    with open_archive(path) as archive, pytest.raises(MalariaError, match=said):
        read(archive, list_cells(archive)[-1])


def test_decoding_gives_the_pixels() -> None:
    content = png(31, 46)
    assert np.array_equal(decode(content, "x.png"), np.asarray(Image.open(io.BytesIO(content))))


def test_a_png_that_is_cut_off_anywhere_is_refused() -> None:
    content = png(31, 46)
    for length in range(40, len(content)):
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (crafted(header(13_000, 13_000), DATA), "it has a second header"),
        (crafted(header(30, 30), DATA), "it has a second header"),
        (crafted(), "it has no pixel data"),
        (crafted(chunk(b"tEXt", b"a\0b")), "it has no pixel data"),
        (crafted(chunk(b"IDAT")), "its pixel data is not that of 30 x 30 px"),
        (crafted(chunk(b"IDAT", b"text")), "Error -3 while decompressing"),
        (crafted(chunk(b"IDAT", zlib.compress(ROWS[: 15 * 91]))), "is not that of 30 x 30 px"),
        (crafted(chunk(b"IDAT", zlib.compress(ROWS + b"\0"))), "is not that of 30 x 30 px"),
        (crafted(chunk(b"IDAT", PACKED[:-4])), "its pixel data is not that of 30 x 30 px"),
        (crafted(chunk(b"ABCD"), DATA), "it has the unknown critical chunk ABCD"),
        (crafted(chunk(b"IDAT", PACKED[:9]), chunk(b"tIME"), DATA), "is in several places"),
        (crafted(DATA, end=b""), "it is cut off"),
        (crafted(struct.pack(">I4s", 2**31, b"IDAT")), "it is cut off"),
        (crafted(DATA, chunk(b"a\nbc")), "a chunk has no name"),
        (crafted(DATA[:-4] + b"abcd"), "the checksum of its chunk IDAT is wrong"),
    ],
)
def test_a_structure_that_decoders_read_differently_is_refused(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    said = re.escape(f"'{SICK}{FIFTH}' does not decode (") + f".*{re.escape(reason)}"
    path = write_zip(tmp_path / "a.zip", (SICK + FIFTH, content))
    with open_archive(path) as archive:
        (cell,) = (one for one in list_cells(archive) if one.entry == SICK + FIFTH)
        with pytest.raises(MalariaError, match=said) as caught:
            write_images(archive, [cell], 16, tmp_path / "images.npy")
    assert str(caught.value).endswith("; replace it by the original PNG and zip it again.")
    with pytest.raises(MalariaError, match=re.escape(reason)):
        decode(content, "x.png")


@pytest.mark.parametrize("kind", [b"acTL", b"fcTL", b"fdAT"])
def test_several_frames_are_refused(kind: bytes) -> None:
    with pytest.raises(MalariaError, match=r"'x\.png' has several frames; take one with Pillow"):
        decode(crafted(chunk(kind, bytes(8)), DATA), "x.png")


def test_a_transparent_colour_is_refused() -> None:
    with pytest.raises(MalariaError, match=r"has a transparent colour; put it on black"):
        decode(crafted(chunk(b"tRNS", bytes(6)), DATA), "x.png")


def test_what_a_viewer_takes_is_taken() -> None:
    expected = np.frombuffer(ROWS, np.uint8).reshape(30, 91)[:, 1:].reshape(30, 30, 3)
    extra = [
        chunk(b"tIME", bytes(7)),
        chunk(b"zTXt", b"a\0\0" + bomb(90)),
        chunk(b"PLTE", bytes(3)),
    ]
    parts = [chunk(b"IDAT", PACKED[:40]), chunk(b"IDAT", PACKED[40:])]
    for content in (crafted(DATA), crafted(*extra, *parts), crafted(DATA) + b"more"):
        assert np.array_equal(decode(content, "x.png"), expected)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (5, 1), (9, 17), (64, 40)])
def test_an_interlaced_png_is_read(width: int, height: int) -> None:
    pixels = random_images(1, 64)[0][:height, :width]
    rows = []
    for left, across, top, down in PASSES:
        for row in pixels[top::down, left::across]:
            rows += [b"\0", row.tobytes()] if row.size else []
    data = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    content = b"".join([SIGNATURE, header(width, height, 1), data, chunk(b"IEND")])
    assert np.array_equal(decode(content, "x.png"), pixels)


@pytest.mark.parametrize(
    "content",
    [
        crafted(header(13_000, 13_000), DATA),
        crafted(chunk(b"IDAT", bomb(1000))),
        crafted(chunk(b"iCCP", b"a\0\0" + bomb(1000)), DATA),
        b"".join([SIGNATURE, header(2000, 2000), chunk(b"IDAT", bomb(1000)), chunk(b"IEND")]),
    ],
    ids=["second header", "pixel data", "profile", "largest"],
)
def test_the_memory_is_flat(content: bytes) -> None:
    program = (
        "import resource, sys; from malaria.data.pictures import decode\n"
        "from malaria.errors import MalariaError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode(sys.stdin.buffer.read(), 'x.png')\n"
        "except MalariaError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program]
    used = subprocess.run(command, input=content, capture_output=True, check=True, cwd=REPO).stdout
    assert int(used) < 60_000  # kB; 2000 x 2000 px have 12 MB, and there are two copies of them
