"""Logits of a model, against numbers worked out by hand."""

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models.base.saved import logit_model
from malaria.prediction.predict import BATCH, predictor
from tests.conftest import random_images


@pytest.fixture
def model() -> keras.Model:
    """Return a model whose logit is the sum of the channels' means, each from -1 to 1."""
    image = keras.Input((4, 4, 3), dtype="uint8")
    x = keras.layers.Rescaling(2 / 255, offset=-1.0)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, kernel_initializer="ones", name="logit")(x)
    return keras.Model(image, keras.layers.Activation("sigmoid", name="probability")(logit))


def test_logits_are_those_of_the_rows_asked_for_in_their_order(model: keras.Model) -> None:
    images = random_images(2 * BATCH, 4)
    rows = np.random.default_rng(0).permutation(2 * BATCH)[: BATCH + 3]
    logits = predictor(model)(images, rows)
    assert logits.shape == (BATCH + 3,)
    assert logits.dtype == np.float64
    by_hand = 3 * (images[rows].mean(axis=(1, 2, 3)) * 2 / 255 - 1)
    assert logits == pytest.approx(by_hand, abs=1e-5)
    by_keras = logit_model(model).predict(images[rows], verbose=0)[:, 0]
    assert logits == pytest.approx(by_keras, abs=1e-6)


def test_images_of_another_size_are_refused(model: keras.Model) -> None:
    with pytest.raises(MalariaError, match="takes images of 4 x 4 x 3, but these have 5 x 5 x 3"):
        predictor(model)(random_images(3, 5), np.arange(3))


def test_logits_that_are_not_finite_are_refused(model: keras.Model) -> None:
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel, np.full_like(bias, np.nan)])
    with pytest.raises(MalariaError, match="gives 3 of 3 cells a logit that is not finite"):
        predictor(model)(random_images(3, 4), np.arange(3))
