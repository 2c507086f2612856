"""The same zip from whatever copy of the set somebody has, and where copies are looked for."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from malaria.core.files import DRAFT, MIRROR, sha256_of
from malaria.core.params import load
from malaria.data import layout as layouts
from malaria.data import obtain as obtaining
from malaria.data import places
from malaria.data.obtain import is_at_hand, obtain
from malaria.data.params import FetchParams
from malaria.errors import MalariaError
from tests.conftest import REPO, little_space
from tests.data.download_server import Server, whole
from tests.data.small_set import (
    CELLS,
    FIRST,
    LAYOUTS,
    encoded_anew,
    kaggle,
    of_patients,
    official,
    params,
    the_zip,
    write_any_zip,
    write_folder,
    write_lists,
)

REAL = REPO.parent / "shared/nih/cell_images_80_patients.zip"
WRITERS: dict[str, Callable[..., Path]] = {"zip": write_any_zip, "folder": write_folder}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a pipeline that has nothing; the set is the small one."""
    write_lists(tmp_path / "lists", monkeypatch)
    folder = tmp_path / "pipeline"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in (MIRROR, "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "cache_of", lambda root: None)
    monkeypatch.setattr("malaria.data.download.FIRST_PAUSE_SECONDS", 0)
    return folder


@pytest.fixture
def dest(place: Path) -> Path:
    return place / "data/raw/cell_images.zip"


def assert_left(dest: Path, content: bytes) -> None:
    assert dest.read_bytes() == content
    assert list(dest.parent.iterdir()) == [dest]


def fault_of(wanted: FetchParams, dest: Path) -> str:
    """Return the one sentence with which `obtain` fails; nothing may be left."""
    with pytest.raises(MalariaError) as caught:
        obtain(wanted, dest)
    assert not dest.parent.exists() or not list(dest.parent.iterdir())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("way", ["path", "mirror"])
def test_every_copy_gives_the_same_bytes(
    layout: str,
    container: str,
    is_listed: bool,
    way: str,
    tmp_path: Path,
    dest: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_listed:  # a set of one's own
        monkeypatch.undo()
        monkeypatch.chdir(dest.parents[2])
        monkeypatch.delenv(MIRROR, raising=False)
        monkeypatch.setattr(places, "cache_of", lambda root: None)
    source = WRITERS[container](tmp_path / "given/archive.zip", LAYOUTS[layout](CELLS))
    url = str(source)
    if way == "mirror":
        url = "nowhere.zip"
        monkeypatch.setenv(MIRROR, str(tmp_path / "given"))
    wanted = params(tmp_path, url)
    assert is_at_hand(wanted, Path())
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path))


def test_the_right_zip_is_kept_and_a_wrong_one_is_replaced(tmp_path: Path, dest: Path) -> None:
    wanted = params(tmp_path, str(write_any_zip(tmp_path / "a.zip", kaggle())))
    dest.parent.mkdir(parents=True)
    dest.write_bytes(b"old")
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path))
    os.utime(dest, (1, 1))
    (tmp_path / "a.zip").unlink()
    obtain(wanted, dest)
    assert dest.stat().st_mtime == 1


def test_a_path_may_be_relative_and_in_the_users_checkout(
    tmp_path: Path, place: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = params(tmp_path, "mine")
    main = tmp_path / "main"
    write_folder(main / "mine", official())
    monkeypatch.setenv("DVC_ROOT", str(main))
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path))


def test_some_patients_are_taken_from_any_copy_of_more(
    tmp_path: Path, place: Path, dest: Path
) -> None:
    (place / "patients.txt").write_text("C3\nC1\n")
    few = of_patients("C3", "C1")
    for number, cells in enumerate((CELLS, few)):
        source = write_any_zip(tmp_path / f"{number}.zip", kaggle(cells))
        obtain(params(tmp_path, str(source), few, patients="patients.txt"), dest)
        assert_left(dest, the_zip(tmp_path, few))
        dest.unlink()
    lacking = write_any_zip(tmp_path / "less.zip", kaggle(of_patients("C3", "C20")))
    wanted = params(tmp_path, str(lacking), few, patients="patients.txt")
    assert "lacks 5 of 18 wanted cells (Uninfected/C1" in fault_of(wanted, dest)


@pytest.mark.parametrize("what", ["own", "sibling", "cache", "whole set in cache"])
def test_an_experiment_takes_what_the_users_checkout_or_the_cache_has(
    what: str, tmp_path: Path, place: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main"
    for folder in (main, main / "pilot"):
        write_folder(folder, {"dvc.yaml": b""})
    monkeypatch.setenv("DVC_ROOT", str(main / "pilot"))
    (place / "patients.txt").write_text("C3\nC1\n")
    few = of_patients("C3", "C1")
    kept = {
        "own": main / "pilot/data/raw/cell_images.zip",
        "sibling": main / "data/raw/cell_images.zip",
    }.get(what, tmp_path / "cache/files/md5/ab/cdef")
    kept.parent.mkdir(parents=True)
    (tmp_path / "cache/files/md5/00").mkdir(parents=True)
    (tmp_path / "cache/files/md5/00/other").write_bytes(b"PK another file")
    monkeypatch.setattr(places, "cache_of", lambda root: tmp_path / "cache")
    kept.write_bytes(the_zip(tmp_path, few if what in ("own", "cache") else CELLS))
    wanted = params(
        tmp_path, "http://127.0.0.1:9/", few, patients="patients.txt", download="0" * 64
    )
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path, few))


def test_the_mirror_is_searched_at_any_depth_and_what_does_not_fit_is_told(
    tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = tmp_path / "mirror"
    write_any_zip(mirror / "1_few.zip", official(of_patients("C3")))
    write_any_zip(mirror / "weights.npz", {"arrays/1.npy": b"no cells" * 99})
    (mirror / "2_cut.zip").write_bytes(
        write_any_zip(tmp_path / "b.zip", kaggle()).read_bytes()[:99]
    )
    write_folder(tmp_path / "elsewhere", official())
    monkeypatch.setenv(MIRROR, str(mirror))
    wanted = params(tmp_path, "nowhere.zip")
    assert not is_at_hand(wanted, Path())
    said = fault_of(wanted, dest)
    assert f"{mirror}/2_cut.zip and {mirror}/1_few.zip that does not fit, as said above" in said
    assert said.startswith("fetch.url is 'nowhere.zip', which is neither an http(s) address nor a")
    (mirror / "deep").mkdir()
    (mirror / "deep/link").symlink_to(tmp_path / "elsewhere")
    capsys.readouterr()
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path))
    (mirror / "deep/link").unlink()
    write_any_zip(mirror / "deep/z.zip", kaggle())
    dest.unlink()
    capsys.readouterr()
    obtain(wanted, dest)
    assert_left(dest, the_zip(tmp_path))
    told = capsys.readouterr().out.splitlines()
    assert all(line.startswith("fetch: passed over in MALARIA_MIRROR: ") for line in told[:-1])
    assert any("2_cut.zip is not readable as a zip (it is cut off" in line for line in told)
    assert any("1_few.zip lacks 18 of 31 wanted cells" in line for line in told)
    assert told[-1] == f"fetch: 31 cells from {mirror}/deep/z.zip"
    assert len(told) == 3


def test_a_download_is_checked_made_into_the_zip_and_deleted(
    tmp_path: Path, dest: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = write_any_zip(tmp_path / "a.zip", official()).read_bytes()
    server.script = [whole(body)]
    sha256 = hashlib.sha256(body).hexdigest()
    wrong = params(tmp_path, server.url, download="0" * 64)
    with pytest.raises(MalariaError, match=r"but fetch\.download pins 0000"):
        obtain(wrong, dest)
    shutil.rmtree(dest.parent)
    seen: list[list[str]] = []

    def noting(draft: Path, cells: list[tuple[str, bytes]]) -> None:
        seen.append([path.name for path in dest.parent.iterdir()])
        layouts.write_cells(draft, cells)

    monkeypatch.setattr(obtaining, "write_cells", noting)
    obtain(params(tmp_path, server.url, download=sha256), dest)
    assert_left(dest, the_zip(tmp_path))
    ((draft,),) = seen  # the disk never holds the download and the zip
    assert draft.startswith(DRAFT)


def test_a_download_without_the_pinned_cells_is_kept_for_corrected_params(
    tmp_path: Path, dest: Path, server: Server
) -> None:
    body = write_any_zip(tmp_path / "a.zip", official(of_patients("C3"))).read_bytes()
    server.script = [whole(body)]
    sha256 = hashlib.sha256(body).hexdigest()
    with pytest.raises(MalariaError, match=r"download\.zip lacks 18 of 31 wanted cells"):
        obtain(params(tmp_path, server.url, download=sha256), dest)
    obtain(params(tmp_path, server.url, of_patients("C3"), download=sha256), dest)
    assert_left(dest, the_zip(tmp_path, of_patients("C3")))
    assert len(server.ranges) == 1


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("way", ["path", "mirror", "repository"])
def test_too_little_disk_is_said_before_anything_is_written(
    way: str, container: str, tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(the_zip(tmp_path))
    source = WRITERS[container](tmp_path / "mirror/a", kaggle())
    wanted = params(tmp_path, str(source))
    if way != "path":
        wanted = params(tmp_path, "http://127.0.0.1:9/", download="0" * 64)  # is not asked
        monkeypatch.setenv(MIRROR, str(source.parent))
    if way == "repository":
        monkeypatch.setattr(obtaining, "kept_zips", lambda main: [source])
    monkeypatch.setattr(obtaining, "write_cells", lambda *given: pytest.fail("it writes"))
    free = type("Usage", (), {"free": size - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    said = fault_of(wanted, dest)
    assert f"{size} bytes are to be written into {dest.parent}, but its disk has {size - 1}" in said


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, dest: Path) -> None:
    wanted = params(tmp_path, str(write_any_zip(tmp_path / "a.zip", kaggle())))
    with little_space(len(the_zip(tmp_path)) // 2):
        assert f"{dest} cannot be written" in fault_of(wanted, dest)


def test_a_pinned_zip_that_is_not_that_of_the_pinned_cells_is_named(
    tmp_path: Path, dest: Path
) -> None:
    wanted = params(tmp_path, str(write_any_zip(tmp_path / "a.zip", kaggle())), sha256="0" * 64)
    sha256 = hashlib.sha256(the_zip(tmp_path)).hexdigest()
    said = fault_of(wanted, dest)
    assert f"bytes and SHA-256 {sha256}, but fetch.sha256 pins {'0' * 64}" in said


def test_a_path_with_a_wrong_copy_is_an_error_whatever_the_mirror_has(
    tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_any_zip(tmp_path / "mirror/a.zip", kaggle())
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    wrong = write_folder(tmp_path / "mine", CELLS | {FIRST: encoded_anew(CELLS[FIRST])})
    assert f"{wrong} has been encoded anew: 1 PNG of 31" in fault_of(
        params(tmp_path, str(wrong)), dest
    )


@pytest.mark.skipif(not REAL.exists(), reason="../shared/nih has no 80 real patients")
@pytest.mark.parametrize("layout", ["kaggle", "bare"])
def test_the_real_cells_of_the_pilot_are_taken_from_any_layout(
    layout: str, tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(REAL) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        cells = {name.removeprefix("cell_images/"): archive.read(name) for name in names}
    monkeypatch.undo()
    monkeypatch.chdir(REPO / "pilot")
    monkeypatch.setattr(obtaining, "find_ready", lambda sha256, main: None)
    source = write_any_zip(tmp_path / "archive.zip", LAYOUTS[layout](cells))
    wanted = load(FetchParams).model_copy(update={"url": str(source)})
    obtain(wanted, dest)
    assert sha256_of(dest) == wanted.sha256 == sha256_of(REAL)
