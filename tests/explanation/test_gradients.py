"""Gradients of the logit inside a model, by either backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.explanation.gradients import gradients_at
from malaria.models.base.build import build
from malaria.models.base.saved import save_model, split_at
from tests.conftest import REPO, random_images

SIZE = 32
STEP = 0.1  # large enough for the two logits to differ in float32


@pytest.fixture(scope="module")
def cnn_se() -> keras.Model:
    keras.utils.set_random_seed(1)
    return build("cnn_se", SIZE, None)


@pytest.mark.parametrize(("name", "layer"), [("cnn_leaky", "leaky3"), ("cnn_se", "weigh")])
def test_they_are_the_slopes_of_the_logit(name: str, layer: str) -> None:
    keras.utils.set_random_seed(2)
    model = build(name, SIZE, None)
    features, gradients = gradients_at(model, layer, random_images(3, SIZE))
    _, head = split_at(model, layer)
    norm = np.sqrt((gradients**2).sum(axis=(1, 2, 3), keepdims=True))
    step = STEP * features.std() * gradients / norm  # uphill
    rise = head.predict(features + step, verbose=0) - head.predict(features - step, verbose=0)
    assert rise[:, 0] == pytest.approx((gradients * 2 * step).sum(axis=(1, 2, 3)), rel=0.02)


def test_they_depend_neither_on_other_cells_nor_on_dropout(cnn_se: keras.Model) -> None:
    images = random_images(3, SIZE)
    features, gradients = gradients_at(cnn_se, "weigh", images)
    single = gradients_at(cnn_se, "weigh", images[1:2])
    assert features[1:2] == pytest.approx(single[0], abs=1e-6)
    assert gradients[1:2] == pytest.approx(single[1], abs=1e-8)
    assert np.array_equal(gradients_at(cnn_se, "weigh", images)[1], gradients)


def test_they_are_float32_also_in_mixed_precision() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("basic_cnn", SIZE, None)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("conv3").output.dtype == "bfloat16"
    found = gradients_at(model, "conv3", random_images(2, SIZE))
    assert [values.dtype for values in found] == [np.float32, np.float32]
    assert [values.shape for values in found] == [(2, 8, 8, 128)] * 2
    assert all(np.isfinite(values).all() and values.any() for values in found)


def test_another_backend_is_refused(cnn_se: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(MalariaError, match=r"backend is 'torch'.*set KERAS_BACKEND to one"):
        gradients_at(cnn_se, "weigh", random_images(1, SIZE))


@pytest.mark.slow
def test_tensorflow_and_jax_agree(tmp_path: Path, cnn_se: keras.Model) -> None:
    images = random_images(3, SIZE)
    expected = gradients_at(cnn_se, "weigh", images)
    save_model(cnn_se, tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import keras, numpy\n"
        "from malaria.explanation.gradients import gradients_at\n"
        "model = keras.models.load_model('model.keras')\n"
        "features, gradients = gradients_at(model, 'weigh', numpy.load('images.npy'))\n"
        "numpy.savez(keras.backend.backend(), features=features, gradients=gradients)\n"
    )
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": other, "PYTHONPATH": str(REPO)},
        check=True,
    )
    found = np.load(tmp_path / f"{other}.npz")
    assert found["features"] == pytest.approx(expected[0], abs=1e-5)
    largest = float(np.abs(expected[1]).max())
    assert found["gradients"] == pytest.approx(expected[1], abs=1e-4 * largest)
