"""What no copy may hold, whatever its container: links, devices, ways out, absurd sizes."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from malaria.data.copies import open_copy
from malaria.data.remedies import MAX_ENTRY_BYTES
from malaria.errors import MalariaError
from tests.data.cell_zips import entry, patched
from tests.data.small_set import CELLS, FIRST, official, write_any_zip, write_folder


def refusal(path: Path) -> str:
    with pytest.raises(MalariaError) as caught, open_copy(path):
        pass
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def folder_link(path: Path) -> None:
    path.symlink_to(path.parent.parent)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_ENTRY_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (link, "is a symbolic link; put the file itself there"),
        (folder_link, "is a symbolic link; put the file itself there"),
        (os.mkfifo, "is neither a file nor a folder; remove it"),
        (huge, f"declares {MAX_ENTRY_BYTES + 1} bytes, more than the {MAX_ENTRY_BYTES}"),
    ],
)
def test_what_no_folder_may_hold(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "copy", official())
    place = folder / "cell_images/Parasitized/C9P9ThinF_IMG_2015_1_cell_1.png"
    make(place)
    assert f"C9P9ThinF_IMG_2015_1_cell_1.png' {said}" in refusal(folder)


@pytest.mark.parametrize("name", ["a\\b.png", "C:x.png"])
def test_a_name_that_leads_out_of_a_folder_elsewhere(name: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "copy", official())
    (folder / name).write_bytes(b"x")
    assert "has an unsafe name, which may lead out" in refusal(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["Parasitized", FIRST])
def test_what_is_not_readable_is_named(name: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "copy", CELLS)
    (folder / name).chmod(0)
    with pytest.raises(MalariaError, match="cannot be read"), open_copy(folder) as copy:
        copy.read(copy.cells[FIRST][0])
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "attributes", "said"),
    [
        *((start + FIRST, {}, "unsafe name") for start in ("/", "C:/", "../", "cell_images/../")),
        (FIRST.replace("/", "\\"), {}, "unsafe name"),
        (f"{FIRST}\0.exe", {}, "unsafe name"),
        (f"__MACOSX/../../{FIRST}", {}, "unsafe name"),
        ("Parasitized/C1" + "x" * 300, {}, "has a name of more than 255 bytes"),
        (FIRST, {"external_attr": 0o120777 << 16}, "is a symbolic link; zip the file itself"),
        (FIRST, {"compress_type": zipfile.ZIP_BZIP2}, "is neither stored nor deflated"),
    ],
)
def test_what_no_zip_may_hold(
    name: str, attributes: dict[str, int], said: str, tmp_path: Path
) -> None:
    path = write_any_zip(tmp_path / "copy.zip", {"Uninfected/": b""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry(name, **attributes), b"/etc/passwd")
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (8, b"\1", "is encrypted; zip it without a password"),
        (24, struct.pack("<I", 3_000_000_000), "declares 3000000000 bytes, more than the 4194304"),
    ],
)
def test_a_password_and_an_absurd_size_are_refused_before_anything_is_read(
    offset: int, value: bytes, said: str, tmp_path: Path
) -> None:
    assert said in refusal(patched(write_any_zip(tmp_path / "copy.zip", CELLS), offset, value))


def test_a_zip_that_is_cut_off_or_none_is_named(tmp_path: Path) -> None:
    content = write_any_zip(tmp_path / "copy.zip", official()).read_bytes()
    (tmp_path / "copy.zip").write_bytes(content[: len(content) // 2])
    said = f"is not readable as a zip (it is cut off after {len(content) // 2} bytes, or damaged"
    assert said in refusal(tmp_path / "copy.zip")
    (tmp_path / "copy.zip").write_bytes(b"<html>moved</html>")
    assert "is not readable as a zip (File is not a zip file); delete" in refusal(
        tmp_path / "copy.zip"
    )
    assert "is missing" in refusal(tmp_path / "none.zip")


def test_damaged_bytes_are_named(tmp_path: Path) -> None:
    path = patched(write_any_zip(tmp_path / "copy.zip", CELLS), 40, b"\0\0\0\0", b"PK\3\4")
    damaged = next(iter(CELLS))
    with open_copy(path) as copy, pytest.raises(MalariaError, match="cannot be read"):
        copy.read(copy.cells[damaged][0])
