"""External test sets: what is read, what is refused, and what pins them."""

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria.core.files import MIRROR
from malaria.errors import MalariaError
from malaria.prediction.external import (
    COLUMNS,
    check_external,
    open_crops,
    predict_external,
    read_external,
    sha256_of_crops,
)
from malaria.prediction.params import ExternalSet
from malaria.prediction.table import write_table
from tests.conftest import png, random_images
from tests.data.test_pictures import saved

SICK, WELL = "Parasitized/", "Uninfected/"
SIZE = 12
Write = Callable[..., Path]


def crops(count: int, of: str = "crop {}.png") -> dict[str, bytes]:
    """Return as many cells of each class, darker if parasitized; their names are numbered."""
    images = random_images(2 * count, 20) // 2
    images[:count] += 100
    names = [WELL] * count + [SICK] * count
    return {
        folder + of.format(number): png(image)
        for number, (folder, image) in enumerate(zip(names, images, strict=True), start=1)
    }


CROPS = crops(4)
OF_SYSTEMS = (
    *(".DS_Store", "desktop.ini", SICK + ".DS_Store", "__MACOSX/Parasitized/._1.png"),
    *(SICK + "._crop 5.png", ".ipynb_checkpoints/1-checkpoint.png", WELL + "Desktop.ini"),
)


def official(patient: int, number: str = "{}") -> str:
    return f"C{patient}P9thinF_IMG_20150604_104722_cell_{number}.png"


def write_zip(path: Path, entries: Mapping[str, bytes], base: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(base + name, content)
    return path


def write_folder(path: Path, entries: Mapping[str, bytes], base: str = "") -> Path:
    for name, content in entries.items():
        file = path / base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_folder], ids=["zip", "folder"])


def pinned(path: Path, name: str = "lab_b") -> ExternalSet:
    return ExternalSet(name=name, path=str(path), sha256=sha256_of_crops(path))


def darkness(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (100 - images[rows].astype("float64").mean(axis=(1, 2, 3))) / 10


def predicted(folder: Path, *sets: ExternalSet) -> pd.DataFrame:
    """Return the predictions of the sets as the pipeline writes and reads them."""
    write_table(predict_external(sets, SIZE, darkness, folder)[0], folder / "external.csv")
    return read_external(folder / "external.csv")


def refusal(path: Path) -> str:
    with pytest.raises(MalariaError) as caught, open_crops(path):
        pass
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@WRITERS
@pytest.mark.parametrize("base", ["", "cell_images/"])
def test_file_names_are_free(write: Write, base: str, tmp_path: Path) -> None:
    entries = CROPS | dict.fromkeys([SICK + "Thumbs.db", WELL + "Thumbs.db", *OF_SYSTEMS], b"x")
    with open_crops(write(tmp_path / "lab_b", entries, base)) as found:
        ordered = sorted((base + name for name in CROPS), key=lambda name: Path(name).name)
        assert [cell.entry for cell in found.cells] == ordered
        assert [cell.cell_id for cell in found.cells] == [f"crop {n}" for n in range(1, 9)]
        assert [cell.label for cell in found.cells] == [0] * 4 + [1] * 4
        assert {cell.patient for cell in found.cells} == {""}


@WRITERS
def test_a_name_may_be_in_both_folders_and_of_several_formats(write: Write, tmp_path: Path) -> None:
    image = Image.fromarray(random_images(1, 20)[0])
    names = [SICK + "1.png", WELL + "1.png", WELL + "1.PNG", SICK + "2.jpg", WELL + "2.TIFF"]
    kinds = ["PNG", "PNG", "PNG", "JPEG", "TIFF"]
    entries = {name: saved(image, kind) for name, kind in zip(names, kinds, strict=True)}
    path = write(tmp_path / "lab_b", entries, "cell_images/")
    with open_crops(path) as found:
        assert [cell.cell_id for cell in found.cells] == sorted(names)
        assert [cell.label for cell in found.cells] == [1, 1, 0, 0, 0]
    table = predicted(tmp_path, pinned(path)).set_index("cell_id")
    same = [name for name in names if not name.endswith("jpg")]
    assert table.loc[same, "logit"].nunique() == 1


def test_what_systems_leave_changes_no_hash(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "lab_b", CROPS)
    wanted = pinned(path)
    write_folder(path, dict.fromkeys([SICK + "Thumbs.db", *OF_SYSTEMS], b"x"))
    (path / ".link").symlink_to("nowhere")
    check_external([wanted])
    assert len(predicted(tmp_path, wanted)) == 8


def test_a_zip_and_its_folder_give_the_same_cells_and_logits(tmp_path: Path) -> None:
    zipped = write_zip(tmp_path / "a.zip", CROPS, "cell_images/")
    folder = write_folder(tmp_path / "b", dict(reversed(CROPS.items())))
    table = predicted(tmp_path, pinned(zipped, "a"), pinned(folder, "b"))
    assert list(table) == COLUMNS
    a, b = (table[table["set"] == name].drop(columns="set") for name in ("a", "b"))
    assert len(a) == 8
    assert a.reset_index(drop=True).equals(b.reset_index(drop=True))
    assert table["patient"].isna().all()
    first = darkness(random_images(8, 20) // 2 + 100, np.array([0]))
    assert a["logit"].iloc[0] == pytest.approx(first[0], abs=0.1)
    assert (a["probability"] > 0.5).tolist() == (a["label"] == 1).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b", "external.csv"]


def test_no_set_is_a_header(tmp_path: Path) -> None:
    assert predicted(tmp_path).empty
    assert (tmp_path / "external.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_names_that_look_like_missing_values_are_kept(tmp_path: Path) -> None:
    entries = {WELL + "NA.png": CROPS[WELL + "crop 1.png"]}
    entries |= {SICK + "007.png": CROPS[WELL + "crop 2.png"]}
    table = predicted(tmp_path, pinned(write_zip(tmp_path / "a.zip", entries), "null"))
    assert table["cell_id"].tolist() == ["007", "NA"]
    assert set(table["set"]) == {"null"}


def test_official_names_give_the_patients(tmp_path: Path) -> None:
    entries = crops(2, of=official(12)) | crops(2, of=official(3, "7{}"))
    with open_crops(write_zip(tmp_path / "a.zip", entries)) as found:
        assert sorted(cell.patient for cell in found.cells) == ["C12"] * 4 + ["C3"] * 4
    one_other = entries | {SICK + "C5_of_lab_b.png": b""}
    with open_crops(write_zip(tmp_path / "b.zip", one_other)) as found:
        assert {cell.patient for cell in found.cells} == {""}


def test_the_hash_of_a_folder_is_that_of_its_list(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", {SICK + "1.png": b"one", WELL + "2.png": b"two"})
    # (cd a && find Parasitized Uninfected -name '*.png' -exec sha256sum {} + | sort | sha256sum)
    expected = "b3ce531431d77695b573568d0cd8e765eea6456ea473f294667c12d763002f55"
    assert sha256_of_crops(folder) == expected
    (folder / SICK / "Thumbs.db").write_bytes(b"x")
    os.utime(folder / SICK / "1.png", (0, 0))
    assert sha256_of_crops(folder) == expected
    (folder / SICK / "1.png").rename(folder / WELL / "1.png")
    assert sha256_of_crops(folder) != expected


def test_a_zip_is_taken_from_the_mirror_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    wanted = pinned(write_zip(tmp_path / "a.zip", CROPS))
    (tmp_path / "a.zip").rename(tmp_path / "mirror" / "other.zip")
    monkeypatch.delenv(MIRROR, raising=False)
    with pytest.raises(MalariaError, match=r"lab_b: '.*a\.zip' is neither .* is not set .*set"):
        predicted(tmp_path, wanted)
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    assert len(predicted(tmp_path, wanted)) == 8


@WRITERS
def test_bytes_that_are_not_the_pinned_ones_are_refused(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "lab_b", CROPS)
    wanted = pinned(path)
    write(path, CROPS | {SICK + "crop 8.png": png(random_images(1, 20)[0])})
    with pytest.raises(MalariaError) as caught:
        check_external([wanted])
    assert str(caught.value) == (
        f"evaluate.external, lab_b: {path} has SHA-256 {sha256_of_crops(path)}, but "
        f"{wanted.sha256} is pinned; bring the pinned cells back, or pin these with "
        f"`uv run malaria pin {path}`."
    )


@WRITERS
@pytest.mark.parametrize(
    "name",
    [
        "Malformed/1.png",
        "parasitized/1.png",
        "1.png",
        SICK + "deeper/1.png",
        SICK + "1.gif",
        SICK + "1",
        SICK + "1\n.png",
        SICK + "labels.csv",
        "cell_images/Malformed/1.png",
        "README.txt",
    ],
)
def test_what_has_no_place_is_refused_by_its_name(write: Write, name: str, tmp_path: Path) -> None:
    base = "cell_images/" if name.startswith("cell_images/") else ""
    said = refusal(write(tmp_path / "lab_b", {base + SICK + "ok.png": b"", name: b""}))
    assert "has no place in it: only PNG, JPEG and TIFF files in " in said
    assert f"{base}Parasitized/ and {base}Uninfected/ (in this very spelling)" in said
    assert repr(name) in said or f"'{Path(name).parent.as_posix()}/'" in said


@WRITERS
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["cell_images/" + SICK + "1.png", WELL + "2.png"], r"'Uninfected/(2\.png)?' has no place"),
        (
            [SICK + official(3, "1"), WELL + official(3, "1")],
            r"cell_1.png more than once \(.*delete or rename all but one",
        ),
        (
            [SICK + "Thumbs.db"],
            "has no cell; put PNG, JPEG or TIFF files into Parasitized/ and Unin",
        ),
        ([SICK + "a\\1.png", WELL + "2.png"], "has an unsafe name"),
    ],
)
def test_faults_of_the_names_are_refused(
    write: Write, entries: list[str], said: str, tmp_path: Path
) -> None:
    assert re.search(said, refusal(write(tmp_path / "lab_b", dict.fromkeys(entries, b""))))


@pytest.mark.parametrize("name", ["../" + SICK + "1.png", "/etc/1.png"])
def test_an_unsafe_name_in_a_zip_is_refused(name: str, tmp_path: Path) -> None:
    assert "has an unsafe name" in refusal(write_zip(tmp_path / "a.zip", {name: b""}))


def test_a_name_that_no_file_can_have_is_refused_in_a_short_sentence(tmp_path: Path) -> None:
    said = refusal(write_zip(tmp_path / "a.zip", {SICK + "x" * 60_000 + ".png": b""}))
    assert "xxx...' has a name of more than 255 bytes; shorten it" in said
    assert len(said) < 700
    number = "1" * 200
    with open_crops(
        write_zip(tmp_path / "b.zip", {SICK + official(int(number), "1"): b""})
    ) as found:
        assert found.cells[0].patient == ""


@WRITERS
def test_an_absurd_size_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a", {SICK + "1.png": bytes(5 << 20)})
    assert "declares 5242880 bytes, more than the 4194304" in refusal(path)


@pytest.mark.parametrize("link", [SICK + "1.png", "Uninfected"])
def test_a_link_in_a_folder_is_refused(link: str, tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", {WELL + "1.png": b""})
    path = write_folder(tmp_path / "a", {SICK + "2.png": b""})
    (path / link).symlink_to(elsewhere / ("Uninfected" if link == "Uninfected" else WELL + "1.png"))
    assert f"{link!r} is a symbolic link; put the file itself there" in refusal(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(SICK + "1.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    assert "is a symbolic link" in refusal(tmp_path / "a.zip")


def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", CROPS)
    os.mkfifo(path / SICK / "pipe.png")
    assert "'Parasitized/pipe.png' is neither a file nor a folder" in refusal(path)
