"""The smaller zip: same bytes from every source that holds the same cells."""

import hashlib
import random
import zipfile
from pathlib import Path

import pytest

from malaria.core.files import sha256_of
from malaria.data.archive import list_cells, open_archive
from malaria.data.patients import read_patients
from malaria.errors import MalariaError
from malaria.studies.subset import write_subset
from tests.conftest import REPO

SICK = "cell_images/Parasitized/"
WELL = "cell_images/Uninfected/"
CELLS = {
    f"{folder}C{patient}{kind}_IMG_20150918_144104_cell_{number}.png": f"{patient} {number}"
    for patient, kind in ((2, "thinF"), (10, "P61ThinF"), (9, "P4_thinF"))
    for folder, number in ((SICK, 1), (SICK, 20), (WELL, 3), (WELL, 10))
    if folder == WELL or "P" in kind
}
# Fixed here so that any Python and any machine is held to the same bytes.
SHA_OF_10_AND_2 = "5ae9a8137de03e7131bb7dcba30bf3826e7e210bd5fa44c90c898ce1897460a8"

PATIENTS = REPO / "pilot/patients.txt"
REAL = REPO / "../shared/nih/cell_images_80_patients.zip"
REAL_SHA = "3465a02af274b91e4011d4758fb170122b9693b8d9e75815c521bc37ebf4ab37"


def write_zip(path: Path, cells: dict[str, str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in cells.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "source.zip", CELLS)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """The place of the subset, with another file there."""
    path = tmp_path / "subset.zip"
    path.write_bytes(b"old")
    return path


def test_the_subset_has_the_chosen_cells_in_the_official_layout(source: Path, dest: Path) -> None:
    made = write_subset(source, ["C10", "C2"], dest)
    assert made.sha256 == sha256_of(dest) == SHA_OF_10_AND_2
    lines = [
        f"{name.rpartition('/')[2]}\t{hashlib.sha256(content.encode()).hexdigest()}\n"
        for name, content in CELLS.items()
        if "/C9P" not in name
    ]
    assert made.count == len(lines)
    assert made.cells == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    with zipfile.ZipFile(dest) as archive:
        assert archive.namelist() == [
            SICK,
            SICK + "C10P61ThinF_IMG_20150918_144104_cell_1.png",
            SICK + "C10P61ThinF_IMG_20150918_144104_cell_20.png",
            SICK + "Thumbs.db",
            WELL,
            WELL + "C10P61ThinF_IMG_20150918_144104_cell_10.png",
            WELL + "C10P61ThinF_IMG_20150918_144104_cell_3.png",
            WELL + "C2thinF_IMG_20150918_144104_cell_10.png",
            WELL + "C2thinF_IMG_20150918_144104_cell_3.png",
            WELL + "Thumbs.db",
        ]
        assert archive.read(WELL + "C2thinF_IMG_20150918_144104_cell_3.png") == b"2 3"
        assert len(archive.read(SICK + "Thumbs.db")) == 512
    with open_archive(dest) as archive:
        assert {cell.patient for cell in list_cells(archive)} == {"C2", "C10"}
    assert sorted(path.name for path in dest.parent.iterdir()) == ["source.zip", "subset.zip"]


def test_order_dates_compression_and_thumbnails_of_the_source_do_not_matter(
    tmp_path: Path, dest: Path
) -> None:
    names = random.Random(3).sample(sorted(CELLS), len(CELLS))
    shuffled = {SICK + "Thumbs.db": "thumbnails of everyone"} | {n: CELLS[n] for n in names}
    other = write_zip(tmp_path / "other.zip", shuffled, zipfile.ZIP_DEFLATED)
    assert write_subset(other, {"C2", "C10"}, dest).sha256 == SHA_OF_10_AND_2
    assert write_subset(dest, ["C2", "C10"], tmp_path / "again.zip").sha256 == SHA_OF_10_AND_2


@pytest.mark.parametrize(
    ("patients", "reason"),
    [
        (["C10", "C77", "C8"], r"source\.zip has no cell of C8, C77; remove them from the list"),
        (["C2"], "has no wanted cell in a folder Parasitized.*choose more patients"),
        ([], "has no wanted cell in a folder Parasitized"),
    ],
)
def test_a_choice_that_makes_no_zip_is_refused_and_the_old_file_kept(
    patients: list[str], reason: str, source: Path, dest: Path
) -> None:
    with pytest.raises(MalariaError, match=reason):
        write_subset(source, patients, dest)
    assert dest.read_bytes() == b"old"
    assert sorted(path.name for path in dest.parent.iterdir()) == ["source.zip", "subset.zip"]


def test_any_layout_of_the_source_will_do_and_all_patients_can_be_taken(
    tmp_path: Path, dest: Path
) -> None:
    nested = {f"cell_images/{name}": content for name, content in CELLS.items()}
    source = write_zip(tmp_path / "archive.zip", CELLS | nested)
    assert write_subset(source, ["C2", "C10"], dest).sha256 == SHA_OF_10_AND_2
    for name, content in CELLS.items():
        path = tmp_path / "bare" / name.removeprefix("cell_images/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert write_subset(tmp_path / "bare", ["C2", "C10"], dest).sha256 == SHA_OF_10_AND_2
    everyone = write_subset(tmp_path / "bare", None, dest)
    assert everyone == write_subset(source, ["C2", "C10", "C9"], dest)
    assert everyone.count == len(CELLS)


def test_a_damaged_source_leaves_nothing(source: Path, tmp_path: Path) -> None:
    source.write_bytes(source.read_bytes().replace(b"10 20", b"10 21", 1))
    with pytest.raises(MalariaError, match=r"C10P61\w+_cell_20\.png' cannot be read"):
        write_subset(source, ["C10"], tmp_path / "subset.zip")
    assert list(tmp_path.iterdir()) == [source]


def test_the_source_is_not_overwritten_and_missing_places_are_named(
    source: Path, tmp_path: Path
) -> None:
    before = source.read_bytes()
    with pytest.raises(MalariaError, match=r"source\.zip is the source itself; give the subset"):
        write_subset(source, ["C10"], tmp_path / "x/../source.zip")
    assert source.read_bytes() == before
    with pytest.raises(MalariaError, match=r"none\.zip is missing"):
        write_subset(tmp_path / "none.zip", ["C10"], tmp_path / "subset.zip")
    with pytest.raises(MalariaError, match=r"none/subset\.zip cannot be written \(No such file"):
        write_subset(source, ["C10"], tmp_path / "none/subset.zip")


@pytest.mark.skipif(not REAL.exists(), reason="the real cells are not in ../shared/nih")
def test_the_pilot_zip_is_rebuilt_from_itself(tmp_path: Path) -> None:
    assert write_subset(REAL, read_patients(PATIENTS), tmp_path / "pilot.zip").sha256 == REAL_SHA


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the real cells are not in ../shared/nih")
def test_the_pilot_zip_is_rebuilt_from_a_larger_one(tmp_path: Path) -> None:
    larger = tmp_path / "larger.zip"
    with (
        zipfile.ZipFile(REAL) as pilot,
        zipfile.ZipFile(larger, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name in reversed(pilot.namelist()):
            archive.writestr(name, pilot.read(name))
        for name, content in CELLS.items():
            archive.writestr(name.replace("/C", "/C9999"), content)
    assert write_subset(larger, read_patients(PATIENTS), tmp_path / "pilot.zip").sha256 == REAL_SHA
