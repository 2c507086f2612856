"""Heat maps: worked out by hand for a model of one convolution, then for every model."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from malaria.explanation.gradcam import describe_maps, feature_layer, heat_maps
from malaria.models.base.build import build
from malaria.models.base.saved import LOGIT
from malaria.models.base.system import names
from tests.conftest import random_images

SIZE = 8
RED, BLUE = 3.0, -1.0  # what a channel of 255 in all places adds to the logit
# The last layer that all paths pass with at least 7 places per side, for 64 pixels.
FAST = {
    "basic_cnn": ("conv3", 16),
    "cnn_base": ("conv3", 12),
    "cnn_leaky": ("leaky3", 16),
    "cnn_se": ("weigh", 16),
    "vgg16_frozen": ("block4_conv3", 8),
}
SLOW = {
    "resnet18": ("stack1_block1_out", 8),
    "resnet34": ("stack1_block3_out", 8),
    "resnet50": ("stack1_block3_out", 8),
    "resnet_preact": ("last_relu", 8),
    "vgg19_frozen": ("block4_conv4", 8),
    "vgg19_finetuned": ("block4_conv4", 8),
}


def red_and_blue(size: int = SIZE, stride: int = 1) -> keras.Model:
    """Return a model of the weighted means of red and blue, 0 to 1; its features are the two.

    A pooling follows the features.
    """
    image = keras.Input((size, size, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(2, 1, strides=stride, use_bias=False, name="features")(x)
    x = layers.MaxPooling2D(1, name="pool")(x)
    x = layers.GlobalAveragePooling2D()(x)
    logit = layers.Dense(1, name=LOGIT)(x)
    model = keras.Model(image, layers.Activation("sigmoid")(logit))
    model.get_layer("features").set_weights([np.array([[[[1, 0], [0, 0], [0, 1]]]])])
    model.get_layer(LOGIT).set_weights([np.array([[RED], [BLUE]]), np.array([5.0])])
    return model


def cells(called: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"row": np.arange(len(called)), "called": called})


@pytest.fixture
def image() -> np.ndarray:
    """Return black with a red square, a darker red place and a blue square."""
    pixels = np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[0, 1:3, 1:3, 0] = 204
    pixels[0, 6, 1, 0] = 51
    pixels[0, 4:7, 5:7, 2] = 100
    return pixels


def test_heat_is_where_the_evidence_for_the_call_lies(image: np.ndarray) -> None:
    found = heat_maps(red_and_blue(), np.repeat(image, 2, axis=0), cells([1, 0]))
    assert found[0] == pytest.approx(image[0, ..., 0] / 204, abs=1e-6)  # one place a quarter as red
    assert found[1] == pytest.approx(image[0, ..., 2] / 100, abs=1e-6)


def test_a_place_with_evidence_for_both_gives_the_difference() -> None:
    image = np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8)
    image[0, 0, :2] = [(200, 0, 0), (200, 0, 255)]
    found = heat_maps(red_and_blue(), image, cells([1]))[0]
    assert found[0, 1] == pytest.approx((RED * 200 + BLUE * 255) / (RED * 200), abs=1e-6)


def test_a_map_without_evidence_stays_zero(image: np.ndarray) -> None:
    image[..., 2] = 0
    assert not heat_maps(red_and_blue(), image, cells([0])).any()


def test_a_coarse_map_is_stretched_between_its_places() -> None:
    image = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    image[0, 4, 4, 0] = 255  # the third of eight places each way
    found = heat_maps(red_and_blue(16, stride=2), image, cells([1]))[0]
    assert found.shape == (16, 16)
    assert found[4:6, 4:6] == pytest.approx(1)
    assert found[3, 4] == pytest.approx(1 / 3)  # of 0.75, the largest: a quarter of the way out
    assert not found[8:].any()


def test_batches_give_what_one_batch_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, chosen = red_and_blue(), random_images(5, SIZE), cells([1, 0, 1, 1, 0])
    whole = heat_maps(model, images, chosen)
    monkeypatch.setattr("malaria.explanation.gradcam.BATCH", 2)
    assert heat_maps(model, images, chosen) == pytest.approx(whole, abs=1e-6)
    assert heat_maps(model, images, chosen[::-1])[::-1] == pytest.approx(whole, abs=1e-6)


def test_no_cells_have_no_maps() -> None:
    assert heat_maps(red_and_blue(), random_images(1, SIZE), cells([])).shape == (0, SIZE, SIZE)


def test_every_model_is_tried() -> None:
    assert set(FAST | SLOW) == set(names())


@pytest.mark.parametrize(
    ("name", "layer", "places"),
    [(name, *layer) for name, layer in FAST.items()]
    + [pytest.param(name, *layer, marks=pytest.mark.slow) for name, layer in SLOW.items()],
)
def test_every_model_gives_maps_of_the_images_size(name: str, layer: str, places: int) -> None:
    keras.utils.set_random_seed(3)
    model = build(name, 64, None)
    assert feature_layer(model).name == layer
    assert describe_maps(model) == f"Grad-CAM of {layer}, {places} x {places}"
    found = heat_maps(model, random_images(4, 64), cells([1, 1, 0, 0]))
    assert found.shape == (4, 64, 64)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.ptp(found, axis=(1, 2)) > 0).any()


def test_a_layer_that_a_shortcut_bypasses_is_skipped() -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(2, 1, name="before")(layers.Rescaling(1 / 255)(image))
    inner = layers.Conv2D(2, 3, strides=2, name="small")(layers.ZeroPadding2D(1, name="around")(x))
    x = layers.Add()([inner, layers.Conv2D(2, 1, strides=2)(x)])
    logit = layers.Dense(1, name=LOGIT)(layers.GlobalAveragePooling2D()(x))
    assert feature_layer(keras.Model(image, logit)).name == "before"


def test_the_smallest_image_still_has_a_layer() -> None:
    assert feature_layer(build("basic_cnn", 16, None)).name == "conv2"
