"""The saved model: its bytes depend only on the model, and it needs only Keras."""

import errno
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models.base.build import build
from malaria.models.base.saved import ENTRY_DATE, LOGIT, NEW_DEFAULTS, logit_model, save_model
from tests.conftest import REPO, random_images
from tests.models.conftest import SIZE as VGG_SIZE
from tests.models.conftest import write_weights

SIZE = 16


def small_model() -> keras.Model:
    """Return a model whose two layers share an initializer, which Keras therefore numbers."""
    keras.utils.set_random_seed(1)
    shared = keras.initializers.GlorotUniform(seed=1)
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Conv2D(4, 3, kernel_initializer=shared, name="conv")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    logit = keras.layers.Dense(1, kernel_initializer=shared, dtype="float32", name=LOGIT)(x)
    probability = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name="basic_cnn")


def nodes_of(path: Path) -> list[dict[str, Any]]:
    """Return every mapping in a saved model's configuration."""
    found: list[dict[str, Any]] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            found.append(node)
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                collect(item)

    with zipfile.ZipFile(path) as archive:
        collect(json.loads(archive.read("config.json")))
    return found


def shared_ids(path: Path) -> list[int]:
    """Return every shared_object_id of a saved model's configuration."""
    name = "shared_object_id"
    return [node[name] for node in nodes_of(path) if name in node]


@pytest.mark.usefixtures("bfloat16")
def test_a_saved_model_loads_and_predicts_the_same(tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = random_images(4, SIZE)
    assert loaded.name == "basic_cnn"
    assert np.array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert loaded.get_layer("conv").compute_dtype == "bfloat16"


def test_the_container_holds_no_date(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert archive.namelist() == ["config.json", "metadata.json", "model.weights.h5"]
        assert {info.date_time for info in archive.infolist()} == {ENTRY_DATE}
        assert set(json.loads(archive.read("metadata.json"))) == {"keras_version"}
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert time.strftime("%Y-%m-%d").encode() not in content


def test_shared_objects_are_numbered_in_their_order_and_stay_shared(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "keras.keras")
    save_model(model, tmp_path / "model.keras")
    before, after = shared_ids(tmp_path / "keras.keras"), shared_ids(tmp_path / "model.keras")
    order = {value: number for number, value in enumerate(dict.fromkeys(before))}
    assert 0 < len(order) < len(before)
    assert max(before) > len(before)
    assert after == [order[value] for value in before]


@pytest.mark.usefixtures("bfloat16")
def test_equal_models_give_equal_bytes_and_different_ones_do_not(tmp_path: Path) -> None:
    first, second = small_model(), small_model()
    save_model(first, tmp_path / "first.keras")
    save_model(second, tmp_path / "second.keras")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()
    second.get_layer(LOGIT).bias.assign([1e-3])
    save_model(second, tmp_path / "second.keras")
    assert (tmp_path / "first.keras").read_bytes() != (tmp_path / "second.keras").read_bytes()


def test_a_model_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("an older model")
    save_model(small_model(), tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert keras.models.load_model(tmp_path / "model.keras").name == "basic_cnn"


def test_a_full_disk_leaves_the_model_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "model.keras").write_text("an older model")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(MalariaError, match=r"No space left on device.*is as it was"):
        save_model(small_model(), tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "an older model"


def test_the_logit_model_shares_its_weights_with_the_model() -> None:
    model = small_model()
    logits = logit_model(model)
    images = random_images(3, SIZE)
    model.get_layer(LOGIT).bias.assign([2.0])
    expected = np.log(1 / model.predict(images, verbose=0) - 1)
    assert -logits.predict(images, verbose=0) == pytest.approx(expected, abs=1e-4)


def keys_of(path: Path) -> set[str]:
    """Return all keys of a saved model's configuration."""
    return {key for node in nodes_of(path) for key in node}


def test_older_releases_of_keras_are_not_told_of_what_is_not_set(tmp_path: Path) -> None:
    model = build("cnn_se", SIZE, None)
    model.save(tmp_path / "keras.keras")
    save_model(model, tmp_path / "model.keras")
    assert NEW_DEFAULTS.keys() <= keys_of(tmp_path / "keras.keras")
    assert not NEW_DEFAULTS.keys() & keys_of(tmp_path / "model.keras")
    images = random_images(4, SIZE)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    norm = next(one for one in model.layers if isinstance(one, keras.layers.BatchNormalization))
    norm.renorm_momentum = 0.5
    save_model(model, tmp_path / "model.keras")
    assert NEW_DEFAULTS.keys() & keys_of(tmp_path / "model.keras") == {"renorm_momentum"}


@pytest.mark.usefixtures("bfloat16")
def test_the_documented_float32_copy_gives_nearly_the_same(tmp_path: Path) -> None:
    save_model(build("cnn_se", SIZE, None), tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    portable = keras.models.model_from_json(model.to_json().replace("mixed_bfloat16", "float32"))
    portable.set_weights(model.get_weights())
    assert {layer.compute_dtype for layer in portable.layers[1:]} == {"float32"}
    images = random_images(4, SIZE)
    expected = model.predict(images, verbose=0)
    assert portable.predict(images, verbose=0) == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_equal_models_of_two_processes_have_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from malaria.models.base.build import build\n"
        "from malaria.models.base.saved import save_model\n"
        "from malaria.training.backend import prepare\n"
        "prepare('cpu', 'mixed_bfloat16', 5)\n"
        "save_model(build(sys.argv[1], 32, None), Path(sys.argv[2]))\n"
    )
    for path in (tmp_path / "first.keras", tmp_path / "second.keras"):
        command = [sys.executable, "-c", script, "vgg19_finetuned", str(path)]
        subprocess.run(command, cwd=REPO, check=True)
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"),
    [("vgg19_finetuned", None), ("vgg19_finetuned", "file"), ("resnet18", None), ("cnn_se", None)],
)
def test_a_saved_model_works_without_this_library(
    tmp_path: Path, name: str, weights: str | None
) -> None:
    model = build(name, VGG_SIZE, write_weights(tmp_path / "vgg19.h5") if weights else None)
    images = random_images(2, VGG_SIZE)
    save_model(model, tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys; sys.modules['malaria'] = sys.modules['keras_hub'] = None\n"
        "import keras, numpy\n"
        "model = keras.models.load_model('model.keras')\n"
        "numpy.save('probability.npy', model.predict(numpy.load('images.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    probability = np.load(tmp_path / "probability.npy")
    assert probability == pytest.approx(model.predict(images, verbose=0), abs=1e-6)
