"""What train.weights means: a name, or a file that is found by the content of its arrays."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from malaria.cli.main import app
from malaria.core.files import MIRROR
from malaria.errors import MalariaError
from malaria.models.base.arrays import content_of
from malaria.models.base.weights import find_weights
from tests.models.test_arrays import ARRAYS, write_layers

PINNED = f"arrays:{content_of(ARRAYS)}"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder without the weights: a folder, a broken link, another file."""
    folder = tmp_path / "mirror"
    (folder / "a folder").mkdir(parents=True)
    (folder / "a link").symlink_to(folder / "nowhere")
    (folder / "another.h5").write_bytes(b"another")
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


@pytest.mark.parametrize("name", ["weights.h5", "deep/in/a folder/other name.bin"])
def test_a_file_is_found_by_its_content_whatever_its_name(mirror: Path, name: str) -> None:
    path = mirror / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_layers(path, "W_1:0", compression="gzip")
    assert find_weights(PINNED) == path


@pytest.mark.usefixtures("mirror")
def test_weights_that_nobody_has_are_named_with_every_remedy() -> None:
    with pytest.raises(MalariaError) as caught:
        find_weights(PINNED)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train.weights", PINNED, "MALARIA_MIRROR", "imagenet", "vgg16", "none", "demo"):
        assert part in message


def test_pin_prints_the_line_for_a_file_of_weights(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pin", str(write_layers(tmp_path / "any.bin"))])
    assert result.output == f"weights: {PINNED}\n"


def test_names_are_passed_on_without_a_look_at_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, "/nowhere")
    assert [find_weights(name) for name in ("imagenet", "vgg16")] == ["imagenet", "vgg16"]
    assert find_weights("none") is None
