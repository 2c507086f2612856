"""Pictures of any kind: the pixels that a viewer shows, or a refusal whose remedy keeps them."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from malaria.data.pictures import decode
from malaria.data.remedies import MAX_ENTRY_BYTES
from malaria.errors import MalariaError
from tests.conftest import REPO, random_images

PIXELS = random_images(1, 30)[0][:, :22]
SMOOTH = np.tile(np.linspace(0, 255, 16, dtype=np.uint8)[:, None, None], (1, 24, 3))
BLACK = Image.new("RGB", (9, 9))
ORIENTATION = 274  # the tag of EXIF
SHORT, LONG, BYTES = 3, 4, 7  # types of TIFF's tags
Tag = tuple[int, int, int, int]  # number, type, count, and the value or where it lies


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refusal(content: bytes) -> str:
    with pytest.raises(MalariaError) as caught:
        decode(content, "a.x")
    assert "\n" not in str(caught.value)
    assert "zip" not in str(caught.value)
    return str(caught.value)


def tiff(*tags: Tag, following: int = 0, side: int = 10, pad: int = 2000) -> bytes:
    """Return a TIFF of one strip of `side` x `side` black pixels with these tags as well."""
    own: list[Tag] = [(256, LONG, 1, side), (257, LONG, 1, side), (259, SHORT, 1, 1)]
    own += [(258, SHORT, 1, 8), (262, SHORT, 1, 2), (277, SHORT, 1, 3), (273, LONG, 1, 1000)]
    own += [(278, LONG, 1, side), (279, LONG, 1, 300)]
    entries = sorted({tag[0]: tag for tag in [*own, *tags]}.values())
    found = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + found + struct.pack("<I", following)
    return head.ljust(pad, b"\0")


def with_more_exif() -> bytes:
    """Return a TIFF whose EXIF tags point to the same bytes three times."""
    content = bytearray(tiff((34665, LONG, 1, 500)))
    entries = [struct.pack("<HHII", number, BYTES, 900, 8) for number in range(3)]
    content[500:538] = struct.pack("<H", 3) + b"".join(entries)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    assert np.array_equal(decode(saved(Image.fromarray(PIXELS), kind), "a"), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(
    orientation: int, kind: str, options: dict[str, object]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = saved(Image.fromarray(SMOOTH), kind, exif=exif, **options)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    turned = decode(content, "a")
    assert np.array_equal(turned, shown)
    assert turned.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    bright = [turned[y, x, 0] > 127 for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    dark_side = {1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right"}
    corners = {"top": [0, 0, 1, 1], "bottom": [1, 1, 0, 0], "left": [0, 1, 0, 1]}
    corners["right"] = [1, 0, 1, 0]
    assert bright == corners[dark_side.get(orientation, "left" if orientation == 8 else "right")]


def test_exif_that_says_nothing_leaves_the_picture() -> None:
    image = Image.fromarray(PIXELS)
    for exif in (
        b"",
        b"text",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        tiff((ORIENTATION, SHORT, 1, 9)),
    ):
        assert np.array_equal(decode(saved(image, "PNG", exif=b"Exif\0\0" + exif), "a"), PIXELS)


def test_metadata_of_a_jpeg_change_no_pixel() -> None:
    image = Image.fromarray(SMOOTH)
    plain = saved(image, "JPEG", quality=95)
    assert np.abs(decode(plain, "a").astype(int) - SMOOTH).max() < 12
    comment = plain[:2] + b"\xff\xff\xff\xfe\0\x06text" + plain[2:]  # padding before it too
    with_profile = saved(image, "JPEG", quality=95, icc_profile=bytes(70_000))
    two = saved(image, "MPO", quality=95, save_all=True, append_images=[BLACK])
    for content in (plain + b"more", comment, with_profile, two):
        assert np.array_equal(decode(content, "a"), decode(plain, "a"))


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    content = saved(Image.fromarray(SMOOTH), "JPEG", progressive=True)
    assert decode(content, "a").shape == SMOOTH.shape
    scan = content[content.rindex(b"\xff\xda") : -2]
    with pytest.raises(MalariaError, match="it has more than 100 scans"):
        decode(content[:-2] + 100 * scan + content[-2:], "a")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'a.x' is not a PNG, JPEG or TIFF; replace it"),
        (b"file,probability\n", "is not a PNG, JPEG or TIFF"),
        (saved(Image.fromarray(PIXELS), "GIF"), "is not a PNG, JPEG or TIFF"),
        (saved(Image.fromarray(PIXELS), "PNG")[:200], "'a.x' does not decode"),
        (saved(Image.fromarray(PIXELS), "JPEG")[:-200], "'a.x' does not decode (it is cut off"),
        (saved(Image.fromarray(PIXELS), "JPEG")[:-1], "'a.x' does not decode (it is cut off"),
        (saved(Image.fromarray(PIXELS), "JPEG")[:30], "'a.x' does not decode (its segments are"),
        (b"\xff\xd8\xff\xd0\xff\xe1\0\4ab", "'a.x' does not decode (its segments are damaged)"),
        (saved(Image.fromarray(PIXELS), "TIFF")[:900], "'a.x' does not decode"),
        (saved(Image.new("RGB", (2001, 4)), "JPEG"), "is 2001 x 4 px, but a cell has 1 to 2000"),
        (saved(Image.new("RGB", (2001, 4)), "TIFF"), "is 2001 x 4 px, but a cell has 1 to 2000"),
        (tiff(side=60_000), "is 60000 x 60000 px, but a cell has 1 to 2000 px a side; crop it"),
        (tiff()[:60], "does not decode (it is cut off); replace it by the original TIFF"),
        (tiff((1000, BYTES, 3000, 8)), "(the tag 1000 lies beyond its end)"),
        (tiff(*((n, BYTES, 900, 8) for n in (1000, 1001, 1002))), "(its tags have more bytes than"),
        (with_more_exif(), "(its tags have more bytes than the file)"),
        (tiff((322, LONG, 1, 16_000), (323, LONG, 1, 16)), "(its tiles are larger than a cell)"),
        (tiff((256, LONG, 0, 0)), "does not decode"),
        (bytes(MAX_ENTRY_BYTES + 1), f"has more than the {MAX_ENTRY_BYTES} bytes"),
    ],
)
def test_what_is_not_a_crop_is_refused(content: bytes, said: str) -> None:
    assert said in refusal(content)


def deep(kind: str, colours: int, white: int) -> bytes:
    """Return PIXELS as 16-bit grey or RGB whose brightest value is `white`."""
    pixels = (PIXELS if colours == 3 else PIXELS[..., 1]).astype("float64") * (white / 255)
    _, content = cv2.imencode(f".{kind.lower()}", pixels.round().astype("uint16")[..., ::-1])
    return content.tobytes()


GREY = np.repeat(PIXELS[..., 1:2], 3, axis=2)
ON_BLACK = np.dstack([PIXELS, np.where(np.arange(22) < 11, 0, 255)[None].repeat(30, 0)])
HALF_BLACK = np.where((np.arange(22) < 11)[None, :, None], 0, PIXELS)
FLIPPED = Image.Exif()
FLIPPED[ORIENTATION] = 3


@pytest.mark.parametrize(
    ("content", "said", "kept"),
    [
        (saved(Image.fromarray(GREY[..., 0]), "PNG"), "is 8-bit grey, not 8-bit RGB", GREY),
        (saved(Image.fromarray(GREY[..., 0]), "TIFF"), "has the mode L, not 8-bit RGB", GREY),
        (
            saved(Image.fromarray(GREY[..., 0]), "TIFF", exif=FLIPPED),
            "has the mode L",
            GREY[::-1, ::-1],
        ),
        (saved(Image.fromarray(PIXELS).convert("CMYK"), "TIFF"), "has the mode CMYK", PIXELS),
        (saved(Image.fromarray(ON_BLACK.astype("uint8")), "PNG"), "RGB with alpha", HALF_BLACK),
        (saved(Image.fromarray(ON_BLACK.astype("uint8")), "TIFF"), "the mode RGBA", HALF_BLACK),
        (saved(Image.fromarray(SMOOTH).quantize(), "PNG"), "is 4-bit palette", SMOOTH),
        (deep("PNG", 3, 4095), "is 16-bit RGB, not 8-bit RGB", PIXELS),
        (deep("PNG", 1, 4095), "is 16-bit grey, not 8-bit RGB", GREY[:, ::-1]),
        (deep("TIFF", 3, 4095), "is 16-bit RGB, not 8-bit RGB", PIXELS),
        (deep("TIFF", 1, 4095), "is 16-bit grey, not 8-bit RGB", GREY[:, ::-1]),
        (
            saved(Image.fromarray(PIXELS), "TIFF", save_all=True, append_images=[BLACK]),
            "has several pages",
            PIXELS,
        ),
        (
            saved(
                Image.fromarray(PIXELS),
                "PNG",
                save_all=True,
                append_images=[BLACK.resize((22, 30))],
            ),
            "has several frames",
            PIXELS,
        ),
    ],
)
def test_the_remedy_of_a_refusal_keeps_the_picture(
    content: bytes, said: str, kept: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = refusal(content)
    assert said in sentence
    monkeypatch.chdir(tmp_path)
    Path("original.x").write_bytes(content)
    found = re.search(r"with (?:Pillow|OpenCV), (.*)\.$", sentence)
    assert found is not None
    names = {"Image": Image, "ImageOps": ImageOps, "cv2": cv2, "WHITE": 4095, "path": "original.x"}
    exec(found[1], names)
    made = decode(Path("cell.png").read_bytes(), "cell.png")
    assert np.abs(made.astype(int) - kept).max() <= 1


@pytest.mark.parametrize(
    "content",
    [
        tiff(*((n, BYTES, 3_900_000, 8) for n in range(1000, 1060)), pad=4_000_000),
        tiff((322, LONG, 1, 16_000), (323, LONG, 1, 16_000), (324, LONG, 1, 8), (325, LONG, 1, 99)),
        tiff(side=13_000),
        saved(Image.new("RGB", (13_000, 13_000)), "JPEG", quality=1),
    ],
    ids=["tags", "tile", "TIFF's size", "JPEG's size"],
)
def test_the_memory_is_flat(content: bytes) -> None:
    program = (
        "import resource, sys; from malaria.data.pictures import decode\n"
        "from malaria.errors import MalariaError\n"
        "content = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode(content, 'a.x')\n"
        "except MalariaError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program]
    used = subprocess.run(command, input=content, capture_output=True, check=True, cwd=REPO).stdout
    assert int(used) < 20_000  # kB
