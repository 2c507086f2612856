"""Whether a copy is the pinned set: what is missing, extra, different or double is named."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from malaria.data.content import checked_cells, chosen_places
from malaria.data.copies import open_copy
from malaria.data.known import Wanted, digest, wanted
from malaria.data.layout import CLASSES
from malaria.errors import MalariaError
from tests.conftest import png
from tests.data.small_set import (
    CELLS,
    FIRST,
    NAMES,
    SICK,
    WELL,
    encoded_anew,
    hashes,
    kaggle,
    of_patients,
    write_any_zip,
    write_folder,
    write_lists,
)

OTHER_PIXELS = png(np.zeros((9, 9, 3), np.uint8))
EXTRA = f"{SICK}C3P3ThinF_IMG_2015_1_cell_99.png"
STRANGER = f"{WELL}C7thinF_IMG_2015_1_cell_1.png"
Files = dict[str, bytes]


@pytest.fixture
def goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    write_lists(tmp_path / "lists", monkeypatch)
    return wanted(digest(hashes(CELLS)), "0" * 64, None)


def read(path: Path, goal: Wanted) -> list[tuple[str, bytes]]:
    with open_copy(path) as copy:
        return list(checked_cells(copy, goal, chosen_places(copy, goal)))


def refusal(path: Path, goal: Wanted) -> str:
    with pytest.raises(MalariaError) as caught:
        read(path, goal)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(f"{path} ")


def without(*places: str) -> Files:
    return {place: one for place, one in CELLS.items() if place not in places}


def renamed(old: str, new: str) -> Files:
    return {new if place == old else place: one for place, one in CELLS.items()}


# What is wrong, the files, and how the sentence says it.
FAULTS: dict[str, tuple[Files, str]] = {
    "missing": (without(FIRST), f"lacks 1 of 31 wanted cells ({FIRST}); correct that, or take an"),
    "many missing": (without(*NAMES[:13]), f"{sorted(NAMES[:13])[9]} and 3 more); correct"),
    "changed": (
        CELLS | {FIRST: OTHER_PIXELS},
        f"has 1 cell with other bytes than the set ({FIRST})",
    ),
    "many changed": (
        CELLS | dict.fromkeys(NAMES[:12], OTHER_PIXELS),
        "has 12 cells with other bytes than the set",
    ),
    "no picture": (CELLS | {FIRST: b"x"}, f"has 1 cell with other bytes than the set ({FIRST})"),
    "extra cell": (
        CELLS | {EXTRA: OTHER_PIXELS},
        f"has 1 file that does not belong to the set ({EXTRA})",
    ),
    "extra patient": (CELLS | {STRANGER: OTHER_PIXELS}, f"does not belong to the set ({STRANGER})"),
    "extra text": (CELLS | {"readme.txt": b"x"}, "does not belong to the set (readme.txt)"),
    "extra above": (CELLS | {"x.png": b"x"}, "has 1 file that does not belong to the set (x.png)"),
    "extra with blanks": (
        CELLS | {f"{FIRST[:-4]} (1).png": b"x", "a\nb": b"x"},
        f"has 2 files that do not belong to the set ({FIRST[:-4]} (1).png, 'a\\nb')",
    ),
    "both": (
        without(FIRST) | {EXTRA: b"x"},
        f"lacks 1 of 31 wanted cells ({FIRST}) and has 1 file that does not belong to the set (",
    ),
    "wrong class": (
        renamed(FIRST, FIRST.replace(SICK, WELL)),
        f"lacks 1 of 31 wanted cells ({FIRST}) and has 1 file that does not belong to the set (Un",
    ),
    "encoded anew": (
        {place: encoded_anew(one) for place, one in CELLS.items()},
        "has been encoded anew: 31 PNGs of 31 have the pixels of the originals, but other bytes;",
    ),
    "one encoded anew": (CELLS | {FIRST: encoded_anew(CELLS[FIRST])}, "encoded anew: 1 PNG of 31"),
    "encoded anew and one changed": (
        {place: encoded_anew(one) for place, one in CELLS.items()} | {FIRST: OTHER_PIXELS},
        "has 31 cells with other bytes than the set",
    ),
    "name in lower case": (
        renamed(FIRST, FIRST.replace("Thin", "thin")),
        f"has 1 name in another case than the set ({FIRST.replace('Thin', 'thin')} for {FIRST})",
    ),
    "suffix in upper case": (
        renamed(FIRST, FIRST.replace("png", "PNG")),
        f"has 1 name in another case than the set ({FIRST.replace('png', 'PNG')} for {FIRST})",
    ),
    "folder in lower case": (
        {place.replace("Par", "par"): one for place, one in CELLS.items()},
        "has the folder 'parasitized', but in the set its name is 'Parasitized'; rename it",
    ),
    "unlike doubles": (
        kaggle() | {f"cell_images/cell_images/{FIRST}": OTHER_PIXELS},
        f"twice with different bytes (cell_images/{FIRST} and cell_images/cell_images/{FIRST});",
    ),
    "one class": (of_patients("C1"), "lacks 26 of 31 wanted cells"),
    "nothing": ({"a.txt": b"x"}, "lacks 31 of 31 wanted cells"),
}


@pytest.mark.parametrize("write", [write_any_zip, write_folder])
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_said_in_one_sentence(
    name: str, write: Callable[[Path, Files], Path], goal: Wanted, tmp_path: Path
) -> None:
    files, said = FAULTS[name]
    assert said in refusal(write(tmp_path / "copy", files), goal)


def test_ten_are_named_and_the_rest_counted(goal: Wanted, tmp_path: Path) -> None:
    said = refusal(write_folder(tmp_path / "copy", without(*NAMES[:13])), goal)
    assert said.count(".png") == 10
    said = refusal(write_folder(tmp_path / "more", without(*NAMES[:10])), goal)
    assert said.count(".png") == 10
    assert " more)" not in said


def test_equal_doubles_are_one_cell_also_under_one_name_of_a_zip(
    goal: Wanted, tmp_path: Path
) -> None:
    path = write_any_zip(tmp_path / "copy.zip", kaggle())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr(f"cell_images/{FIRST}", CELLS[FIRST])
    assert dict(read(path, goal)) == CELLS
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr(f"cell_images/{FIRST}", OTHER_PIXELS)
    assert "has 1 cell twice with different bytes" in refusal(path, goal)


# The same for a set that the lists do not describe.
OWN: dict[str, tuple[Files, str]] = {
    "changed": (
        CELLS | {FIRST: OTHER_PIXELS},
        "holds 31 cells, whose names and bytes have the dig",
    ),
    "extra text": (CELLS | {"readme.txt": b"x"}, "does not belong to the set (readme.txt)"),
    "both classes": (
        CELLS | {FIRST.replace(SICK, WELL): CELLS[FIRST]},
        "has 1 file name in both classes (",
    ),
    "unlike doubles": (
        kaggle() | {f"cell_images/cell_images/{FIRST}": OTHER_PIXELS},
        "has 1 cell twice with different bytes",
    ),
    **{
        f"no {name}": (
            {place: one for place, one in CELLS.items() if not place.startswith(name)},
            f"has no wanted cell in a folder {name}, and both classes are needed; take a whole",
        )
        for name in CLASSES
    },
}


@pytest.mark.parametrize("name", OWN)
def test_a_set_of_ones_own_is_held_to_its_digest(name: str, tmp_path: Path) -> None:
    own = Wanted(digest(hashes(CELLS)), "0" * 64, None, {}, frozenset())
    assert dict(read(write_folder(tmp_path / "right", CELLS), own)) == CELLS
    files, said = OWN[name]
    assert said in refusal(write_folder(tmp_path / "copy", files), own)


def test_patients_that_a_set_of_ones_own_lacks_are_named(tmp_path: Path) -> None:
    own = Wanted("0" * 64, "0" * 64, frozenset({"C3", "C30", "C4"}), {}, frozenset())
    said = refusal(write_folder(tmp_path / "copy", CELLS), own)
    assert said.startswith("has no cell of C4, C30; remove them from the list of patients, or take")
