"""The checked view of the zip: what it lists, what it refuses and how it says so."""

import struct
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from malaria.data.archive import (
    Cell,
    list_cells,
    open_archive,
    png_size,
    read_entry,
    table_of_cells,
)
from malaria.data.pictures import decode
from malaria.errors import MalariaError
from tests.conftest import REPO
from tests.data.cell_zips import CELL, FIFTH, OTHER, SICK, WELL, entry, patched, png, write_zip

REAL = REPO.parent / "shared/nih/cell_images_80_patients.zip"


def listed(path: Path) -> list[Cell]:
    with open_archive(path) as archive:
        return list_cells(archive)


def refusal(path: Path) -> str:
    """Return the sentence with which a zip is refused when its cells are listed."""
    with pytest.raises(MalariaError) as caught:
        listed(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cell_is_read_from_its_name(tmp_path: Path) -> None:
    cells = listed(write_zip(tmp_path / "a.zip"))
    name = CELL.removesuffix(".png")
    assert cells[0] == Cell(name, SICK + CELL, 1, "C100", "C100P61ThinF", "20150918_144104")
    assert (cells[1].label, cells[1].patient, cells[1].slide) == (0, "C1", "C1_thinF")


def test_the_table_has_what_name_and_header_say(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", (SICK + FIFTH, png(31, 46)))
    with open_archive(path) as archive:
        table = table_of_cells(archive)
    assert list(table) == ["cell_id", "label", "patient", "slide", "photo", "width", "height"]
    assert table[["patient", "label", "width", "height"]].to_numpy().tolist() == [
        ["C100", 1, 7, 5],
        ["C1", 0, 7, 5],
        ["C5", 1, 31, 46],
    ]


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
    cells = listed(write_zip(tmp_path / "a.zip", (SICK + name, png())))
    (cell,) = (cell for cell in cells if cell.entry == SICK + name)
    assert (cell.patient, cell.slide, cell.photo) == (patient, name.split("_IMG")[0], photo)


def test_the_order_is_that_of_names_whatever_the_class_and_the_order_in_the_zip(
    tmp_path: Path,
) -> None:
    names = [f"C{n}_thinF_IMG_20150604_104722_cell_{n}.png" for n in (30, 4, 200)]
    entries = [((SICK, WELL)[n % 2] + name, b"") for n, name in enumerate(names)]
    for order in (entries, entries[::-1]):
        cells = listed(write_zip(tmp_path / "a.zip", *order))
        assert [f"{cell.cell_id}.png" for cell in cells] == sorted([CELL, OTHER, *names])


def test_folders_and_thumbs_db_are_skipped(tmp_path: Path) -> None:
    skipped = ("cell_images/", SICK, WELL, SICK + "Thumbs.db", WELL + "Thumbs.db")
    assert len(listed(write_zip(tmp_path / "a.zip", *((name, b"") for name in skipped)))) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((start + SICK + CELL, "unsafe name") for start in ("/", "C:/", "../")),
        (SICK + "../../" + CELL, "unsafe name"),
        ("..", "unsafe name"),
        ("cell_images\\Parasitized\\" + CELL, "unsafe name"),
        (SICK + "C5_thinF_IMG_20150604_1_cell_1.png\0.exe", "unsafe name"),
        *(("cell_images/" + SICK + name, "no place in it") for name in ("", CELL)),
        ("cell_images/parasitized/" + CELL, "no place in it: only PNG files and Thumbs.db in cell"),
        ("Parasitized/" + CELL, "(in this very spelling) may be there; use the official zip, or r"),
        *((name, "no place in it") for name in (CELL, f"__MACOSX/{SICK}._{CELL}")),
        *((SICK + name, "no place in it") for name in (".DS_Store", "deeper/", f"deeper/{CELL}")),
        *((folder + "humbs.db", "no place in it") for folder in (SICK + "t", "cell_images/T")),
        *((SICK + CELL[:-3] + end, "no place in it") for end in ("PNG", "jpg")),
        (SICK + "P61ThinF_IMG_20150918_144104_cell_162.png", "has not the form C100P61ThinF_IMG"),
        *(
            (f"{SICK}{start}_IMG_20150918_144104_cell_162.png", "has not the form")
            for start in ("C", "C0", "xC1", "C1234567890", "C1P-2", "C1\N{ARABIC-INDIC DIGIT ONE}")
        ),
        *(
            (f"{SICK}C1_{rest}.png", "has not the form")
            for rest in ("20150918_144104_cell_162", "IMG_20150918_144104")
        ),
        (SICK + "C1_IMG_20150918_144104_cell_1 (1).png", "has not the form"),
        (SICK + "C1_IMG_20150918_144104_cell_1.png\n.png", "has not the form"),
    ],
)
def test_an_entry_that_does_not_belong_is_refused_by_its_name(
    name: str, reason: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", (entry(name), png()))
    said = refusal(path)
    assert said.startswith(f"{path}: the entry {name!r} ")
    assert reason in said


@pytest.mark.parametrize("start", ["C" + "1" * 60_000, "C" + "1" * 4000, "C1" + "x" * 250])
def test_a_name_that_no_file_can_have_is_refused_in_a_short_sentence(
    start: str, tmp_path: Path
) -> None:
    name = f"{SICK}{start}_IMG_20150918_144104_cell_162.png"
    said = refusal(write_zip(tmp_path / "a.zip", (entry(name), png())))
    assert "has a name of more than 255 bytes; shorten it" in said
    assert len(said) < 700


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"external_attr": 0o120777 << 16}, "is a symbolic link; zip the file itself"),
        ({"compress_type": zipfile.ZIP_BZIP2}, "is neither stored nor deflated; zip it with"),
    ],
)
def test_a_link_and_a_compression_that_not_every_python_reads_are_refused(
    attributes: dict[str, int], reason: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", (entry(SICK + FIFTH, **attributes), b"/etc/passwd"))
    assert f"{FIFTH}' {reason}" in refusal(path)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, b"\1", "is encrypted; zip it without a password"),
        (24, struct.pack("<I", 3_000_000_000), "declares 3000000000 bytes, more than the 4194304"),
    ],
)
def test_a_password_and_an_absurd_size_are_refused_before_anything_is_read(
    offset: int, value: bytes, reason: str, tmp_path: Path
) -> None:
    path = patched(write_zip(tmp_path / "a.zip"), offset, value)
    assert f"{CELL}' {reason}" in refusal(path)


@pytest.mark.parametrize(("folder", "kept"), [(SICK, WELL), (WELL, SICK)])
def test_a_missing_or_empty_class_is_refused(folder: str, kept: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (folder, folder + "Thumbs.db", kept + CELL):
            archive.writestr(name, b"")
    said = refusal(tmp_path / "a.zip")
    assert f"a.zip has no cell in {folder}, and both classes are needed; use the official" in said


@pytest.mark.parametrize("folder", [SICK, WELL])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_name_that_is_there_twice_is_refused(folder: str, tmp_path: Path) -> None:
    said = refusal(write_zip(tmp_path / "a.zip", (folder + CELL, png())))
    assert f"{CELL} more than once ('{SICK}{CELL}' and '{folder}{CELL}'); delete or ren" in said


def test_a_zip_that_is_missing_or_unreadable_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match=r"a\.zip is missing; get it with `uv run dvc repro fe"):
        open_archive(tmp_path / "a.zip")
    whole = write_zip(tmp_path / "a.zip").read_bytes()
    damaged = whole.replace(b"PK\1\2", b"PK\x09\2", 1)  # in the table of contents
    for content in (whole[:-30], b"<html>moved</html>", b"", damaged):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(MalariaError, match=r"a\.zip is not readable as a zip .*; delete it "):
            open_archive(tmp_path / "a.zip")


@pytest.mark.skipif(not REAL.exists(), reason="../shared/nih has no 80 real patients")
def test_the_real_cells_are_listed_and_decode() -> None:
    with open_archive(REAL) as archive:
        cells = list_cells(archive)
        sizes = [png_size(archive, cell) for cell in cells]
        for cell, size in list(zip(cells, sizes, strict=True))[::500]:
            assert decode(read_entry(archive, cell), cell.entry).shape[1::-1] == size
    assert Counter(cell.label for cell in cells) == {1: 4441, 0: 5555}
    infected = {cell.patient for cell in cells if cell.label == 1}
    assert (len({cell.patient for cell in cells}), len(infected)) == (80, 60)
    assert min(map(min, sizes)) >= 40
    assert max(map(max, sizes)) <= 394
    photos = {(cell.slide, cell.photo) for cell in cells}
    assert len(photos) == len({cell.cell_id.rsplit("_cell_")[0] for cell in cells})
