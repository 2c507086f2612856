"""The published networks: their size, their layers, what they take and give, what learns."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models import systems
from malaria.models.base import system
from malaria.models.base.build import build, group_of
from malaria.models.base.saved import LOGIT, logit_model, split_at
from malaria.models.base.system import FOLDER, check_name, find_system, names
from tests.conftest import random_images
from tests.models.conftest import CONVOLUTIONS, SIZE

HEAD = {"dense1", "dense2", LOGIT}
# Published at this size; of a system that is not here, no source gives the number.
PARAMETERS = {
    "basic_cnn": (125, 15_102_529),
    "cnn_base": (64, 646_338),
    "cnn_leaky": (64, 110_018),
    "cnn_se": (64, 271_378),
    "vgg16_frozen": (64, 14_780_610),
    "vgg19_frozen": (32, 20_550_209),  # VGG19's convolutions and the head on the pixel that is left
    "vgg19_finetuned": (32, 20_550_209),
}
BODIES = {"resnet18": 11_186_112, "resnet34": 21_301_696, "resnet50": 23_561_152}  # torchvision's
TINY = """
from keras import layers
from malaria.models.base.layers import scaled
from malaria.models.base.recipe import NOTEBOOK
from malaria.models.base.system import System

def features(image, weights):
    return layers.GlobalAveragePooling2D(name="mean")(scaled(image))

SYSTEM = System("a test", features, NOTEBOOK)
"""


def test_a_file_in_the_folder_is_a_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names()
    assert before == sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    folder = tmp_path / "systems"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(system, "FOLDER", folder)
    monkeypatch.setattr(systems, "__path__", [str(folder)])
    with pytest.raises(ValueError, match="'tiny' is not a system") as caught:
        check_name("tiny")
    assert ", ".join(before) in str(caught.value)
    (folder / "tiny.py").write_text(TINY)
    assert names() == sorted([*before, "tiny"])
    assert check_name("tiny") == "tiny"
    model = build("tiny", 16, None)
    assert model.name == "tiny"
    assert model.predict(random_images(2, 16), verbose=0).shape == (2, 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_has_its_published_parameters(name: str) -> None:
    size, parameters = PARAMETERS[name]
    assert build(name, size, None).count_params() == parameters


@pytest.mark.parametrize("name", BODIES)
def test_a_resnet_has_the_published_bodys_parameters(
    built: dict[str, keras.Model], name: str
) -> None:
    model = built[name]
    body = [layer for layer in model.layers if group_of(model, layer) < 2]
    assert sum(layer.count_params() for layer in body) == BODIES[name]


def test_resnet_preact_has_three_stages_of_bottlenecks(built: dict[str, keras.Model]) -> None:
    model = built["resnet_preact"]
    blocks = [layer for layer in model.layers if layer.name.endswith("_add")]
    assert [layer.output.shape[1:] for layer in blocks] == (
        [(16, 16, 128)] * 3 + [(8, 8, 256)] * 4 + [(4, 4, 512)] * 6
    )
    kernels = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(kernels) == 1 + 3 * 13 + 3
    assert len(model.losses) == len(kernels)
    penalty = sum(5e-4 * (layer.kernel.numpy() ** 2).sum() for layer in kernels)
    assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-4)


def test_basic_cnn_has_the_articles_layers_which_all_learn(built: dict[str, keras.Model]) -> None:
    model = built["basic_cnn"]
    convolutions = [model.get_layer(f"conv{number}") for number in (1, 2, 3)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128]
    for layer in convolutions:
        assert layer.kernel_size == (3, 3)
        assert layer.padding == "same"
        assert layer.activation is keras.activations.relu
    assert [model.get_layer(f"dropout{number}").rate for number in (1, 2)] == [0.3, 0.3]
    assert not model.non_trainable_weights


@pytest.mark.parametrize("name", names())
def test_a_model_takes_uint8_rgb_and_gives_the_sigmoid_of_its_logit(
    built: dict[str, keras.Model], name: str
) -> None:
    model, images = built[name], random_images(3, SIZE)
    assert model.name == name
    assert model.input.dtype == "uint8"
    assert model.input.shape == (None, SIZE, SIZE, 3)
    probability = model.predict(images, verbose=0)
    assert probability.shape == (3, 1)
    assert probability.dtype == np.float32
    assert ((probability > 0) & (probability < 1)).all()
    logits = logit_model(model).predict(images, verbose=0)
    assert len(np.unique(logits)) == 3
    assert probability == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in names() if find_system(name).two_classes])
def test_the_probability_of_two_classes_is_the_softmax_of_the_first(
    built: dict[str, keras.Model], name: str
) -> None:
    images = random_images(4, SIZE)
    classes = keras.Model(built[name].input, built[name].get_layer("classes").output)
    scores = classes.predict(images, verbose=0)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert built[name].predict(images, verbose=0) == pytest.approx(softmax[:, :1], abs=1e-6)


def test_the_notebooks_networks_end_in_two_classes() -> None:
    for name in ("cnn_base", "cnn_leaky", "cnn_se", "vgg16_frozen"):
        assert find_system(name).two_classes


def test_squeeze_and_excite_weighs_channels(built: dict[str, keras.Model]) -> None:
    model = built["cnn_se"]
    before, weight = model.get_layer("weigh").input
    inside = keras.Model(model.input, [before, weight, model.get_layer("weigh").output])
    maps, weights, weighed = inside.predict(random_images(2, SIZE), verbose=0)
    assert weights.shape == (2, 1, 1, 128)
    assert ((weights > 0) & (weights < 1)).all()
    assert weighed == pytest.approx(maps * weights, abs=1e-6)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(
    ("name", "convolution"), [("basic_cnn", "conv1"), ("vgg19_finetuned", "block1_conv1")]
)
def test_logit_and_probability_are_float32_also_in_mixed_precision(
    name: str, convolution: str
) -> None:
    model = build(name, SIZE, None)
    assert model.get_layer(LOGIT).compute_dtype == "float32"
    assert model.output.dtype == "float32"
    assert logit_model(model).predict(random_images(1, SIZE), verbose=0).dtype == np.float32
    assert model.get_layer(convolution).compute_dtype == "bfloat16"


@pytest.mark.parametrize("name", ["vgg19_frozen", "vgg19_finetuned"])
def test_of_vgg19_only_the_head_and_what_is_finetuned_learn(
    built: dict[str, keras.Model], name: str
) -> None:
    learning = {layer.name for layer in built[name].layers if layer.trainable_weights}
    finetuned = {layer for layer in CONVOLUTIONS if layer.startswith(("block4", "block5"))}
    assert len(finetuned) == 8
    assert learning == (HEAD if name == "vgg19_frozen" else HEAD | finetuned)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("cnn_base", 18), ("basic_cnn", 16), ("resnet18", 16), ("vgg19_frozen", 32)],
)
def test_a_model_takes_the_smallest_size_that_it_names(name: str, smallest: int) -> None:
    assert build(name, smallest, None).input.shape[1] == smallest
    said = rf"preprocess\.size is {smallest - 1}: {name} needs at least {smallest} pixels"
    with pytest.raises(MalariaError, match=said):
        build(name, smallest - 1, None)


@pytest.mark.parametrize(
    ("name", "layer", "above"),
    [("basic_cnn", "pool2", HEAD | {"conv3"}), ("vgg19_frozen", "block5_pool", HEAD)],
)
def test_a_model_is_its_head_on_its_body(
    built: dict[str, keras.Model], name: str, layer: str, above: set[str]
) -> None:
    images = random_images(3, SIZE)
    body, head = split_at(built[name], layer)
    logits = head.predict(body.predict(images, verbose=0), verbose=0)
    whole = logit_model(built[name]).predict(images, verbose=0)
    assert logits == pytest.approx(whole, abs=1e-5)
    assert {layer.name for layer in head.layers if layer.weights} == above


def test_bodies_are_pretrained_and_frozen_as_published(built: dict[str, keras.Model]) -> None:
    frozen = {"vgg16_frozen": "block5_pool", "vgg19_frozen": "block5_pool"}
    for name in [*frozen, *BODIES, "vgg19_finetuned"]:
        assert find_system(name).pretrained
        assert find_system(name).frozen_until == frozen.get(name)
    for name in ("basic_cnn", "cnn_base", "cnn_leaky", "cnn_se", "resnet_preact"):
        assert not find_system(name).pretrained
    for name, model in built.items():
        end = find_system(name).frozen_until
        if end is not None:
            assert not split_at(model, end)[0].trainable_weights


@pytest.mark.parametrize("name", names())
def test_groups_run_from_the_image_to_the_head(built: dict[str, keras.Model], name: str) -> None:
    model = built[name]
    groups = [group_of(model, layer) for layer in model.layers if layer.weights]
    assert groups == sorted(groups)
    assert set(groups) == set(range(len(find_system(name).groups) + 1))
