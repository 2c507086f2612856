"""Files found by their hash, and what is said where they are not."""

import hashlib
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.mirror import MIRROR, find_in_mirror, sha256_of
from malaria.weights import find_weights

CONTENT = b"pre-trained"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder with one file of the same size as the one looked for."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "another.h5").write_bytes(CONTENT[::-1])
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


def test_a_hash_is_64_lower_case_hexadecimal_digits(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256_of(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("name", ["weights.h5", "deep/in/a folder/other name.bin"])
def test_a_file_is_found_by_its_hash_whatever_its_name(mirror: Path, name: str) -> None:
    path = mirror / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    assert find_in_mirror(HASH) == path
    assert find_weights(f"sha256:{HASH}") == path


def test_a_file_of_another_hash_is_not_found(mirror: Path) -> None:
    assert find_in_mirror(HASH) is None


def test_a_broken_link_and_a_folder_in_the_mirror_are_passed_over(mirror: Path) -> None:
    (mirror / "a folder").mkdir()
    (mirror / "a link").symlink_to(mirror / "nowhere")
    assert find_in_mirror(HASH) is None


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_mirror_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(MIRROR, raising=False)
    if value is not None:
        monkeypatch.setenv(MIRROR, value)
    assert find_in_mirror(HASH) is None


def test_a_mirror_that_is_no_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "missing")
    monkeypatch.setenv(MIRROR, missing)
    with pytest.raises(MalariaError) as caught:
        find_in_mirror(HASH)
    assert f"MALARIA_MIRROR is {missing!r}, which is not a folder" in str(caught.value)


def test_weights_that_nobody_has_are_named_with_every_remedy(mirror: Path) -> None:
    with pytest.raises(MalariaError) as caught:
        find_weights(f"sha256:{HASH}")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train.weights", f"sha256:{HASH}", "MALARIA_MIRROR", "imagenet", "none", "demo"):
        assert part in message


def test_names_of_weights_are_passed_on_without_a_look_at_the_mirror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MIRROR, "/nowhere")
    assert find_weights("imagenet") == "imagenet"
    assert find_weights("none") is None
