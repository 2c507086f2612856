"""The checked view on the zip: what it lists, what it refuses and how it says so."""

import io
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from malaria.archive import Cell, decode, list_cells, open_archive, png_size, read_entry
from malaria.errors import MalariaError

SICK = "cell_images/Parasitized/"
WELL = "cell_images/Uninfected/"
CELL = "C100P61ThinF_IMG_20150918_144104_cell_162.png"
OTHER = "C1_thinF_IMG_20150604_104722_cell_9.png"
REAL = Path(__file__).parents[1] / "../shared/nih/cell_images_80_patients.zip"


def png(width: int = 7, height: int = 5, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """Write a zip of one parasitized and one uninfected cell and `entries`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in ((SICK + CELL, png()), (WELL + OTHER, png()), *entries):
            archive.writestr(name, content)
    return path


def one_cell_zip(path: Path, content: bytes) -> tuple[zipfile.ZipFile, Cell]:
    name = "C9P2thinF_IMG_20150604_104722_cell_1.png"
    archive = open_archive(write_zip(path, (SICK + name, content)))
    return archive, next(cell for cell in list_cells(archive) if cell.patient == "C9")


def with_header(depth: int = 8, colour: int = 2, width: int = 7, height: int = 5) -> bytes:
    """Return a PNG whose header says this, its checksum right, over the same pixel data."""
    header = b"IHDR" + struct.pack(">IIBB", width, height, depth, colour) + png()[26:29]
    return png()[:12] + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]


def test_a_cell_is_read_from_its_name(tmp_path: Path) -> None:
    with open_archive(write_zip(tmp_path / "a.zip")) as archive:
        cells = list_cells(archive)
    assert cells[0] == Cell(
        cell_id="C100P61ThinF_IMG_20150918_144104_cell_162",
        entry=SICK + CELL,
        label=1,
        patient="C100",
        slide="C100P61ThinF",
        photo="20150918_144104",
    )
    assert (cells[1].label, cells[1].patient, cells[1].slide) == (0, "C1", "C1_thinF")


@pytest.mark.parametrize(
    ("name", "patient", "photo"),
    [
        ("C47P8thinOriginal_IMG_20150714_094850_cell_1.png", "C47", "20150714_094850"),
        ("C47P8thin_Original_Motic_IMG_20150714_094850_cell_1.png", "C47", "20150714_094850"),
        ("C47P8thinOriginalOlympusCX21_IMG_20150714_0948_cell_1.png", "C47", "20150714_0948"),
        ("C37BP2_thinF_IMG_20150620_133001a_cell_76.png", "C37", "20150620_133001a"),
        ("C51AP12thinF_IMG_20150724_154330_cell_121.png", "C51", "20150724_154330"),
        ("C183P144NThinF_IMG_20151201_223357_cell_35.png", "C183", "20151201_223357"),
        ("C99P60N_ThinF_IMG_20151201_223357_cell_35.png", "C99", "20151201_223357"),
        ("C167P128ReThinF_IMG_20151201_105354_cell_238.png", "C167", "20151201_105354"),
        ("C3thin_original_IMG_20150608_162835_cell_77.png", "C3", "20150608_162835"),
    ],
)
def test_the_official_forms_of_names_are_read(
    name: str, patient: str, photo: str, tmp_path: Path
) -> None:
    with open_archive(write_zip(tmp_path / "a.zip", (SICK + name, png()))) as archive:
        (cell,) = (cell for cell in list_cells(archive) if cell.entry == SICK + name)
    assert (cell.patient, cell.photo) == (patient, photo)
    assert cell.slide == name.split("_IMG")[0]


def test_the_order_is_that_of_names_whatever_the_class_and_the_order_in_the_zip(
    tmp_path: Path,
) -> None:
    names = [f"C{n}_thinF_IMG_20150604_104722_cell_{n}.png" for n in (30, 4, 200)]
    entries = [((SICK, WELL)[n % 2] + name, b"") for n, name in enumerate(names)]
    listed = []
    for order in (entries, entries[::-1]):
        with open_archive(write_zip(tmp_path / "a.zip", *order)) as archive:
            listed.append([cell.cell_id + ".png" for cell in list_cells(archive)])
    assert listed[0] == listed[1] == sorted([CELL, OTHER, *names])


def test_folders_and_thumbs_db_are_passed_over(tmp_path: Path) -> None:
    entries = [(name, b"") for name in ("cell_images/", SICK, WELL)]
    entries += [(SICK + "Thumbs.db", b"x"), (WELL + "Thumbs.db", b"x")]
    with open_archive(write_zip(tmp_path / "a.zip", *entries)) as archive:
        assert len(list_cells(archive)) == 2


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("/" + SICK + CELL, "unsafe name"),
        ("C:/" + SICK + CELL, "unsafe name"),
        (SICK + "../../" + CELL, "unsafe name"),
        ("..", "unsafe name"),
        ("cell_images\\Parasitized\\" + CELL, "unsafe name"),
        (SICK + "C5_thinF_IMG_20150604_1_cell_1.png\0.exe", "unsafe name"),
        ("cell_images/" + SICK, "Kaggle.*innermost cell_images folder"),
        ("cell_images/" + SICK + CELL, "Kaggle.*innermost cell_images folder"),
        ("cell_images/parasitized/" + CELL, "no place in it.*this very spelling.*remove"),
        ("Parasitized/" + CELL, "no place in it"),
        (CELL, "no place in it"),
        ("__MACOSX/" + SICK + "._" + CELL, "no place in it"),
        (SICK + ".DS_Store", "no place in it"),
        (SICK + "deeper/" + CELL, "no place in it"),
        (SICK + "deeper/", "no place in it"),
        (SICK + "thumbs.db", "no place in it"),
        ("cell_images/Thumbs.db", "no place in it"),
        (SICK + CELL.replace(".png", ".PNG"), "no place in it"),
        (SICK + CELL.replace(".png", ".jpg"), "no place in it"),
        (SICK + "P61ThinF_IMG_20150918_144104_cell_162.png", "has not the form C100P61ThinF_IMG"),
        (SICK + "C_IMG_20150918_144104_cell_162.png", "has not the form"),
        (SICK + "C0_IMG_20150918_144104_cell_162.png", "has not the form"),
        (SICK + "xC1_IMG_20150918_144104_cell_162.png", "has not the form"),
        (SICK + "C1P-2_IMG_20150918_144104_cell_162.png", "has not the form"),
        (SICK + "C1_20150918_144104_cell_162.png", "has not the form"),
        (SICK + "C1_IMG_20150918_144104.png", "has not the form"),
        (SICK + "C1_IMG_20150918_144104_cell_1 (1).png", "has not the form"),
        (SICK + "C1\N{ARABIC-INDIC DIGIT ONE}_IMG_20150918_144104_cell_1.png", "has not the form"),
        (SICK + "C1_IMG_20150918_144104_cell_1.png\n.png", "has not the form"),
    ],
)
def test_an_entry_that_does_not_belong_is_refused_by_its_name(
    entry: str, reason: str, tmp_path: Path
) -> None:
    info = zipfile.ZipInfo("x")
    # ZipInfo cleans names that it is given; a crafted zip has them as they are.
    info.filename = info.orig_filename = entry
    path = write_zip(tmp_path / "a.zip", (info, png()))
    with open_archive(path) as archive, pytest.raises(MalariaError, match=reason) as caught:
        list_cells(archive)
    assert str(caught.value).startswith(f"{path}: the entry {entry!r} ")
    assert "\n" not in str(caught.value)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(SICK + "C5_thinF_IMG_20150604_104722_cell_1.png")
    info.external_attr = 0o120777 << 16
    archive = open_archive(write_zip(tmp_path / "a.zip", (info, b"/etc/passwd")))
    with pytest.raises(MalariaError, match=r"C5_thinF.* is a symbolic link; zip the file itself"):
        list_cells(archive)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with (
        open_archive(path) as archive,
        pytest.raises(MalariaError, match=rf"{CELL}.* is encrypted; zip it without a password"),
    ):
        list_cells(archive)


def test_a_compression_that_not_every_python_reads_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(SICK + "C5_thinF_IMG_20150604_104722_cell_1.png")
    info.compress_type = zipfile.ZIP_BZIP2
    archive = open_archive(write_zip(tmp_path / "a.zip", (info, png())))
    with pytest.raises(MalariaError, match=r"C5_thinF.*neither stored nor deflated; zip it with"):
        list_cells(archive)


def test_an_absurd_size_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(content)
    with (
        open_archive(path) as archive,
        pytest.raises(MalariaError, match=rf"{CELL}.* declares 3000000000 bytes.*remove it"),
    ):
        list_cells(archive)


@pytest.mark.parametrize(("folder", "kept"), [(SICK, WELL), (WELL, SICK)])
def test_a_missing_or_empty_class_is_refused(folder: str, kept: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(folder, b"")
        archive.writestr(folder + "Thumbs.db", b"")
        archive.writestr(kept + CELL, png())
    with (
        open_archive(tmp_path / "a.zip") as archive,
        pytest.raises(MalariaError, match=rf"a\.zip has no cell in {folder}.*official zip"),
    ):
        list_cells(archive)


@pytest.mark.parametrize("folder", [SICK, WELL])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_name_that_is_there_twice_is_refused(folder: str, tmp_path: Path) -> None:
    with (
        open_archive(write_zip(tmp_path / "a.zip", (folder + CELL, png()))) as archive,
        pytest.raises(MalariaError, match=rf"{CELL} more than once") as caught,
    ):
        list_cells(archive)
    assert f"('{SICK}{CELL}' and '{folder}{CELL}')" in str(caught.value)


def test_a_missing_zip_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        MalariaError, match=r"none\.zip is missing; make it with `uv run dvc repro fetch`"
    ):
        open_archive(tmp_path / "none.zip")


def test_a_truncated_zip_and_no_zip_are_said(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    for content in (path.read_bytes()[:-30], b"<html>moved</html>", b""):
        path.write_bytes(content)
        with pytest.raises(MalariaError, match=r"a\.zip is not readable as a zip .*delete it"):
            open_archive(path)


def test_a_damaged_table_of_contents_is_said(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"PK\x09\2", 1))
    with pytest.raises(MalariaError, match=r"a\.zip is not readable as a zip"):
        open_archive(path)


def test_the_size_is_width_then_height_from_the_header_alone(tmp_path: Path) -> None:
    archive, cell = one_cell_zip(tmp_path / "a.zip", png(31, 46)[:40])
    assert png_size(archive, cell) == (31, 46)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a PNG; replace it"),
        (b"GIF89a" + bytes(40), "is not a PNG; replace it"),
        (png()[:30], "is not a PNG; replace it"),
        (png()[:20] + b"\1" + png()[21:], "damaged PNG header"),
        (with_header(width=0), "is 0 x 5 px.*1 to 2000 px a side; crop it"),
        (with_header(height=2001), "is 7 x 2001 px.*1 to 2000 px a side; crop it"),
        (png(mode="RGBA"), r"is 8-bit RGB with alpha, not 8-bit RGB; .*convert\(\"RGB\"\)"),
        (png(mode="L"), r"is 8-bit grey, not 8-bit RGB; .*convert\(\"RGB\"\)"),
        (png(mode="LA"), r"is 8-bit grey with alpha, not"),
        (png(mode="P"), r"is 8-bit palette, not"),
        (png(mode="1"), r"is 1-bit grey, not"),
        (with_header(depth=16), r"is 16-bit RGB, not"),
        (with_header(colour=9), r"is 8-bit colour type 9, not"),
    ],
)
def test_a_wrong_header_is_refused_by_size_and_by_decoding(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    archive, cell = one_cell_zip(tmp_path / "a.zip", content)
    with pytest.raises(MalariaError, match=reason) as of_size:
        png_size(archive, cell)
    with pytest.raises(MalariaError, match=reason) as of_decoding:
        decode(read_entry(archive, cell), cell.entry)
    assert str(of_size.value) == str(of_decoding.value)
    assert str(of_size.value).startswith(repr(cell.entry))


def test_damaged_bytes_are_caught_by_the_checksum_of_the_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1
    path.write_bytes(content)
    with open_archive(path) as archive:
        cell = next(cell for cell in list_cells(archive) if cell.label == 1)
        with pytest.raises(MalariaError, match=rf"{CELL}' cannot be read \(Bad CRC.*fetch it"):
            read_entry(archive, cell)


def test_damaged_deflated_bytes_are_said(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(SICK + "C5_thinF_IMG_20150604_104722_cell_1.png")
    info.compress_type = zipfile.ZIP_DEFLATED
    path = write_zip(tmp_path / "a.zip", (info, png(200, 200)))
    content = bytearray(path.read_bytes())
    start = content.index(info.filename.encode()) + len(info.filename)
    content[start : start + 20] = bytes([255]) * 20
    path.write_bytes(content)
    with open_archive(path) as archive:
        cell = next(cell for cell in list_cells(archive) if cell.patient == "C5")
        for read in (read_entry, png_size):
            with pytest.raises(MalariaError, match=r"C5_thinF.* cannot be read .*fetch it again"):
                read(archive, cell)


def test_decoding_gives_the_pixels() -> None:
    image = decode(png(31, 46), "x.png")
    assert (image.mode, image.size) == ("RGB", (31, 46))
    assert image.tobytes() == Image.open(io.BytesIO(png(31, 46))).tobytes()


def test_a_truncated_png_does_not_decode() -> None:
    content = png(31, 46)
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


def test_the_real_cells_are_listed_and_decode() -> None:
    if not REAL.exists():
        pytest.skip("the 80 real patients are not beside the repository (../shared/nih)")
    with open_archive(REAL) as archive:
        cells = list_cells(archive)
        sizes = [png_size(archive, cell) for cell in cells]
        for cell, size in list(zip(cells, sizes, strict=True))[::500]:
            assert decode(read_entry(archive, cell), cell.entry).size == size
    assert Counter(cell.label for cell in cells) == {1: 4441, 0: 5555}
    infected = {cell.patient for cell in cells if cell.label == 1}
    assert (len({cell.patient for cell in cells}), len(infected)) == (80, 60)
    assert min(map(min, sizes)) >= 40
    assert max(map(max, sizes)) <= 394
    photos = {(cell.slide, cell.photo) for cell in cells}
    assert len(photos) == len({cell.cell_id.rsplit("_cell_")[0] for cell in cells})
