"""Image files, checked before a decoder sees them and decoded to the pixels that a viewer shows.

Every picture that comes from outside passes here: cells of zips, external sets, `malaria predict`
and the served model.
"""

import io

import numpy as np
from PIL import Image

from malaria.data import png, tiff
from malaria.data.remedies import MAX_ENTRY_BYTES, MAX_SIDE, ON_BLACK, ONE_FRAME, SCALED, TO_RGB
from malaria.errors import MalariaError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_STARTS = {
    "PNG": (b"\x89PNG",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
MAX_TILE = 2048  # a side, px
_EXIF = b"Exif\0\0"
_PIXELS = b"\xda"
MOST_SCANS = 100  # of a progressive JPEG, which has about ten
_METADATA = {bytes([marker]) for marker in (*range(0xE1, 0xEE), 0xEF, 0xFE)}
_NO_SEGMENT = {bytes([marker]) for marker in (0x00, 0x01, *range(0xD0, 0xDA))}
# What turns a picture upright, by the value of its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(content: bytes, name: str, then: str = "", only_png: bool = False) -> np.ndarray:
    """Return the uint8 (H, W, 3) RGB pixels in the bytes of a PNG, JPEG or TIFF.

    They are turned as the EXIF orientation says. Raises MalariaError for other formats, damage,
    other pixels than opaque 8-bit RGB, several frames or pages, and more bytes or pixels than a
    cell may have; `name` and `then`, the end of the remedy, are for its message.
    """
    if len(content) > MAX_ENTRY_BYTES:
        raise MalariaError(
            f"{name!r} has more than the {MAX_ENTRY_BYTES} bytes that a cell may have; crop it to "
            "one cell or remove it."
        )
    kind = "PNG" if only_png else _kind(content, name)
    exif = b""
    try:
        if kind == "PNG":
            content, exif = png.check(content, name, then)
        elif kind == "JPEG":
            content, exif = _without_metadata(content)
        else:  # Pillow turns it by itself
            _check_tiff(content, name, then)
        image = Image.open(io.BytesIO(content), formats=[kind])
        _check_size(*image.size, name)
        if image.mode != "RGB":
            remedy = ON_BLACK if image.mode in ("P", "LA", "PA", "RGBA") else TO_RGB
            said = f"has the mode {image.mode}, not 8-bit RGB"
            raise MalariaError(f"{name!r} {said}; {remedy}{then}.")
        image.load()
    except MalariaError:
        raise
    except Exception as error:  # Pillow raises whatever its readers do
        reason = " ".join(str(error).split())[:200]
        raise MalariaError(
            f"{name!r} does not decode ({reason}); replace it by the original {kind}{then}."
        ) from None
    turn = _TURNS.get(tiff.read_orientation(exif))
    return np.asarray(image if turn is None else image.transpose(turn))


def _kind(content: bytes, name: str) -> str:
    for kind, starts in _STARTS.items():
        if content.startswith(starts):
            return kind
    raise MalariaError(f"{name!r} is not a PNG, JPEG or TIFF; replace it by one or remove it.")


def _check_size(width: int, height: int, name: str) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise MalariaError(
            f"{name!r} is {width} x {height} px, but a cell has 1 to {MAX_SIDE} px a side; crop it "
            "to one cell or remove it."
        )


def _check_tiff(content: bytes, name: str, then: str) -> None:
    """Raise MalariaError for a TIFF that is not one small page of 8 bits, ValueError for damage."""
    page = tiff.read_directory(content)
    # Pillow copies what tags point to, even if a thousand of them point to the same bytes.
    if page.count > len(content):
        raise ValueError("its tags have more bytes than the file")
    if any(page.numbers.get(tag, (0,))[0] > MAX_TILE for tag in tiff.TILE):
        raise ValueError("its tiles are larger than a cell")
    (width,), (height,) = (page.numbers.get(tag, (0,)) for tag in (tiff.WIDTH, tiff.HEIGHT))
    _check_size(width, height, name)
    if page.following:
        raise MalariaError(f"{name!r} has several pages; {ONE_FRAME}{then}.")
    bits = max(page.numbers.get(tiff.BITS, (1,)))
    if bits > 8:
        kind = "RGB" if page.numbers.get(tiff.PHOTOMETRIC) == (2,) else "grey"
        raise MalariaError(f"{name!r} is {bits}-bit {kind}, not 8-bit RGB; {SCALED}{then}.")


def _without_metadata(content: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without its metadata, which Pillow would copy, and its EXIF data.

    The segments of JFIF and Adobe stay, which say how colours are coded. Raises ValueError for
    what is no JPEG up to its pixels, or has no end.
    """
    kept, exif, at = [content[:2]], b"", 2
    while (marker := content[at + 1 : at + 2]) != _PIXELS:
        if content[at : at + 1] != b"\xff" or len(content) < at + 4 or marker in _NO_SEGMENT:
            raise ValueError("its segments are damaged")
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == b"\xff":  # padding
            end = at + 1
        elif marker not in _METADATA:
            kept.append(content[at:end])
        elif content[at + 4 : at + 10] == _EXIF and not exif:
            exif = content[at + 10 : end]
        at = end
    if b"\xff\xd9" not in content[at:]:
        raise ValueError("it is cut off")
    if content.count(b"\xff" + _PIXELS, at) > MOST_SCANS:  # each costs a pass over all pixels
        raise ValueError(f"it has more than {MOST_SCANS} scans")
    return b"".join([*kept, content[at:]]), exif
