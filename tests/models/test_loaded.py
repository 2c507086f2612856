"""Model files that are damaged, of other networks or hostile: one sentence, and no code runs."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models.base.saved import CONFIG, LOGIT, load_model, save_model
from tests.conftest import random_images
from tests.models.test_saved import SIZE, small_model

WEIGHTS = "model.weights.h5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(small_model(), tmp_path / "model.keras")
    return tmp_path / "model.keras"


def refused(path: Path, size: int | None = None) -> str:
    with pytest.raises(MalariaError) as caught:
        load_model(path, size)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


def change(path: Path, name: str, by: Callable[[bytes], bytes]) -> None:
    """Change an entry of the container, whose checksums stay right."""
    with zipfile.ZipFile(path) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in contents.items():
            archive.writestr(entry, by(content) if entry == name else content)


def test_a_sound_one_predicts_the_same(path: Path) -> None:
    loaded, images = load_model(path, SIZE), random_images(4, SIZE)
    expected = small_model().predict(images, verbose=0)
    assert np.array_equal(loaded.predict(images, verbose=0), expected)


def test_files_that_are_no_model(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:1000], whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        assert "cannot be loaded" in refused(path)
    path.unlink()
    assert "No such file" in refused(path)
    path.mkdir()
    assert "cannot be loaded" in refused(path)
    with pytest.raises(MalariaError, match=r"^the base's model cannot be loaded"):
        load_model(path, shown="the base's model")


def test_damaged_contents(path: Path) -> None:
    whole = path.read_bytes()

    def lacking(content: bytes) -> bytes:
        file = io.BytesIO(content)
        with h5py.File(file, "a") as weights:
            del weights["layers/conv2d/vars/0"]
        return file.getvalue()

    def half(content: bytes) -> bytes:
        return content[: len(content) // 2]

    for name, by in ((WEIGHTS, lacking), (WEIGHTS, half), (CONFIG, half)):
        path.write_bytes(whole)
        change(path, name, by)
        assert "cannot be loaded" in refused(path), (name, by)
    place = whole.index(small_model().get_layer(LOGIT).get_weights()[0].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert "CRC" in refused(path)


def write(path: Path, shape: tuple[Any, ...], logit: str = LOGIT, units: int = 1) -> None:
    image = keras.Input(shape, dtype="uint8", name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(units, name=logit)(x)
    save_model(keras.Model(image, keras.layers.Activation("sigmoid")(x)), path)


def test_models_of_other_networks(path: Path) -> None:
    write(path, (SIZE, SIZE, 3), logit="score")
    assert "No such layer: logit" in refused(path)
    write(path, (SIZE, SIZE, 3), units=2)
    assert "not one number for each image" in refused(path)
    for shape in ((SIZE, SIZE, 1), (SIZE, 2 * SIZE, 3), (None, None, 3)):
        write(path, shape)
        assert f"its input is (None, {shape[0]}, {shape[1]}" in refused(path)
    two = [keras.Input((SIZE, SIZE, 3)) for _ in range(2)]
    save_model(keras.Model(two, keras.layers.Add()(two)), path)
    assert "not one RGB image" in refused(path)


def test_a_model_for_images_of_another_size(path: Path) -> None:
    assert load_model(path, SIZE).input_shape[1] == SIZE
    assert f"takes images of {SIZE} x {SIZE} x 3, but these have 40 x 40 x 3" in refused(path, 40)


def test_a_model_that_holds_code(path: Path, tmp_path: Path) -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Lambda(lambda x: x + 1, name="surprise")(image)
    x = keras.layers.Dense(1, name=LOGIT)(keras.layers.Flatten()(x))
    keras.Model(image, x).save(path)
    assert "its layer 'surprise' is a Lambda of keras.layers, which may run code" in refused(path)


@pytest.mark.parametrize("module", ["os", "keras.utils", "keras.src.utils.file_utils", "builtins"])
def test_a_model_that_names_code_outside(path: Path, tmp_path: Path, module: str) -> None:
    ran = tmp_path / "ran"

    def hostile(content: bytes) -> bytes:
        config = json.loads(content)
        layer = config["config"]["layers"][1]
        layer |= {"module": module, "class_name": "system", "config": {"command": f"touch {ran}"}}
        return json.dumps(config).encode()

    change(path, CONFIG, hostile)
    assert f"is a system of {module}, which may run code" in refused(path)
    assert not ran.exists()
