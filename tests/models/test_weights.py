"""What train.weights means: a name, or a file that is found by its hash."""

import hashlib
from pathlib import Path

import pytest

from malaria.core.files import MIRROR
from malaria.errors import MalariaError
from malaria.models.base.weights import find_weights

CONTENT = b"pre-trained"
PINNED = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder without the weights: a folder, a broken link, a file of the same size."""
    folder = tmp_path / "mirror"
    (folder / "a folder").mkdir(parents=True)
    (folder / "a link").symlink_to(folder / "nowhere")
    (folder / "another.h5").write_bytes(CONTENT[::-1])
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


@pytest.mark.parametrize("name", ["weights.h5", "deep/in/a folder/other name.bin"])
def test_a_file_is_found_by_its_hash_whatever_its_name(mirror: Path, name: str) -> None:
    path = mirror / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    assert find_weights(PINNED) == path


@pytest.mark.usefixtures("mirror")
def test_weights_that_nobody_has_are_named_with_every_remedy() -> None:
    with pytest.raises(MalariaError) as caught:
        find_weights(PINNED)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train.weights", PINNED, "MALARIA_MIRROR", "imagenet", "none", "demo"):
        assert part in message


def test_names_are_passed_on_without_a_look_at_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, "/nowhere")
    assert find_weights("imagenet") == "imagenet"
    assert find_weights("none") is None
