"""Files found by their hash, and why there is none."""

import os
import re
from pathlib import Path

import pytest

from malaria.core import files
from malaria.core.files import MIRROR, SIZES, describe_mirror, find_in_mirror, sha256_of
from malaria.errors import MalariaError
from tests.conftest import REPO

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == ABC


def test_a_file_of_any_name_and_depth_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path))
    (tmp_path / "other").write_bytes(b"other")
    assert find_in_mirror(ABC) is None
    assert describe_mirror(ABC) == f"{MIRROR} ({tmp_path}) holds no file with SHA-256 {ABC}"
    deep = tmp_path / "deep/any_name.bin"
    deep.parent.mkdir()
    deep.write_bytes(b"abc")
    assert find_in_mirror(ABC) == deep


def test_a_large_file_beside_the_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path))
    (tmp_path / "any.zip").write_bytes(b"abc")
    os.truncate(os.open(tmp_path / "a_dump", os.O_CREAT | os.O_WRONLY), 6_000_000_000)
    hashed: list[str] = []

    def note(path: Path) -> str:
        hashed.append(path.name)
        assert path.stat().st_size < 100
        return sha256_of(path)

    monkeypatch.setattr(files, "sha256_of", note)
    assert find_in_mirror(ABC) == tmp_path / "any.zip"
    monkeypatch.setitem(SIZES, ABC, 4)
    (tmp_path / "other").write_bytes(b"1234")
    assert find_in_mirror(ABC) is None
    assert hashed == ["any.zip", "other"]


def test_the_sizes_are_those_of_the_pinned_files() -> None:
    pinned = "".join((REPO / path).read_text() for path in ("params.yaml", "pilot/params.yaml"))
    assert set(re.findall(r"\b[0-9a-f]{64}\b", pinned)) >= set(SIZES)
    for sha256, size in SIZES.items():
        found = find_in_mirror(sha256)
        assert found is None or found.stat().st_size == size


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_mirror_nothing_is_found(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MIRROR, raising=False)
    if value is not None:
        monkeypatch.setenv(MIRROR, value)
    assert find_in_mirror(ABC) is None
    assert describe_mirror(ABC).startswith(f"{MIRROR} is not set")


def test_a_mirror_that_is_not_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path / "gone"))
    with pytest.raises(MalariaError, match=r"MALARIA_MIRROR is '.*gone', which is not a folder"):
        find_in_mirror(ABC)
