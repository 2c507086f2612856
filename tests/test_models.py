"""The articles' models: their size, what they take and give, what learns, which weights."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from malaria import models, resnets
from malaria.errors import MalariaError
from malaria.modelfile import LOGIT, logit_model, save_model
from tests.conftest import random_images

FILTERS = {1: (64, 2), 2: (128, 2), 3: (256, 4), 4: (512, 4), 5: (512, 4)}  # of VGG19's blocks
CONVOLUTIONS = [f"block{block}_conv{n + 1}" for block in FILTERS for n in range(FILTERS[block][1])]
HEAD = {"dense1", "dense2", LOGIT}
VGG_SIZE = 32


def write_weights(path: Path, convolutions: list[str]) -> Path:
    """Write constant weights in the layout of Keras' own VGG files; kernel i is all i / 1000."""
    channels = 3
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in convolutions]
        for number, name in enumerate(convolutions):
            filters = FILTERS[int(name[5])][0]
            group = file.create_group(name)
            names = [f"{name}/kernel:0", f"{name}/bias:0"]
            group.attrs["weight_names"] = [weight.encode() for weight in names]
            # a dataset that is never written to takes no room: every value is its fill value
            group.create_dataset(names[0], (3, 3, channels, filters), "f4", fillvalue=number / 1000)
            group.create_dataset(names[1], (filters,), "f4", fillvalue=-number)
            channels = filters
    return path


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    """Every model, begun at random."""
    keras.utils.set_random_seed(1)
    return {name: models.build(name, VGG_SIZE, None) for name in models.ARCHITECTURES}


@pytest.fixture(params=models.ARCHITECTURES)
def model(built: dict[str, keras.Model], request: pytest.FixtureRequest) -> keras.Model:
    return built[request.param]


@pytest.fixture(params=["vgg19_frozen", "vgg19_finetuned"], ids=str)
def random_vgg(built: dict[str, keras.Model], request: pytest.FixtureRequest) -> keras.Model:
    return built[request.param]


@pytest.fixture
def basic_cnn(built: dict[str, keras.Model]) -> keras.Model:
    return built["basic_cnn"]


@pytest.fixture(scope="module")
def pretrained_vgg(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    path = write_weights(tmp_path_factory.mktemp("weights") / "vgg19.h5", CONVOLUTIONS)
    return models.build("vgg19_finetuned", VGG_SIZE, path)


@pytest.fixture
def bfloat16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def logits_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return logit_model(model).predict(images, verbose=0)


def first_convolution_receives(model: keras.Model, images: np.ndarray) -> np.ndarray:
    inside = model.get_layer("block1_conv1").input
    return keras.Model(model.input, inside).predict(images, verbose=0)


def test_a_model_has_its_own_name(built: dict[str, keras.Model]) -> None:
    assert [model.name for model in built.values()] == list(built)


@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("basic_cnn", 125, 15_102_529),
        ("cnn_base", 64, 646_338),
        ("cnn_leaky", 64, 110_018),
        ("cnn_se", 64, 271_378),
        ("vgg16_frozen", 64, 14_780_610),
    ],
)
def test_a_model_has_its_published_parameters(name: str, size: int, parameters: int) -> None:
    assert models.build(name, size, None).count_params() == parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    # of torchvision's bodies, then pooled_norm, dense1, dense_norm and the logit
    [
        ("resnet18", 11_176_512 + 9_600),
        ("resnet34", 21_284_672 + 17_024),
        ("resnet50", 23_508_032 + 53_120),
    ],
)
def test_a_resnets_body_has_the_known_parameters(
    built: dict[str, keras.Model], name: str, parameters: int
) -> None:
    model = built[name]
    body = sum(
        layer.count_params()
        for layer in model.layers
        if models.group_of(model, layer) < 2 or layer.name.startswith("stack")
    )
    assert body == parameters


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


def test_vgg19_has_the_parameters_of_its_convolutions_and_the_articles_head(
    random_vgg: keras.Model,
) -> None:
    head = (512 * 512 + 512) + (512 * 512 + 512) + (512 + 1)  # one pixel is left of 32
    assert random_vgg.count_params() == 20_024_384 + head


def test_layers_follow_the_article(basic_cnn: keras.Model) -> None:
    convolutions = [basic_cnn.get_layer(f"conv{number}") for number in (1, 2, 3)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128]
    for layer in convolutions:
        assert layer.kernel_size == (3, 3)
        assert layer.padding == "same"
        assert layer.activation is keras.activations.relu
    assert [basic_cnn.get_layer(f"dropout{number}").rate for number in (1, 2)] == [0.3, 0.3]


def test_a_model_takes_uint8_rgb_and_gives_one_probability(model: keras.Model) -> None:
    assert model.input.dtype == "uint8"
    assert model.input.shape == (None, VGG_SIZE, VGG_SIZE, 3)
    probability = model.predict(random_images(3, VGG_SIZE), verbose=0)
    assert probability.shape == (3, 1)
    assert probability.dtype == np.float32
    assert ((probability > 0) & (probability < 1)).all()


def test_the_probability_is_the_sigmoid_of_the_logit(basic_cnn: keras.Model) -> None:
    images = random_images(8, VGG_SIZE)
    logits = logits_of(basic_cnn, images)
    assert len(np.unique(logits)) == 8
    assert basic_cnn.predict(images, verbose=0) == pytest.approx(
        1 / (1 + np.exp(-logits)), abs=1e-6
    )


@pytest.mark.parametrize("name", ["cnn_base", "cnn_leaky", "cnn_se", "vgg16_frozen"])
def test_the_logit_of_two_classes_is_the_softmax_of_the_first(
    built: dict[str, keras.Model], name: str
) -> None:
    images = random_images(4, VGG_SIZE)
    classes = keras.Model(built[name].input, built[name].get_layer("classes").output)
    scores = classes.predict(images, verbose=0)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert built[name].predict(images, verbose=0) == pytest.approx(softmax[:, :1], abs=1e-6)


def test_squeeze_and_excite_weighs_channels(built: dict[str, keras.Model]) -> None:
    model = built["cnn_se"]
    before, weight = model.get_layer("weigh").input
    inside = keras.Model(model.input, [before, weight, model.get_layer("weigh").output])
    maps, weights, weighed = inside.predict(random_images(2, VGG_SIZE), verbose=0)
    assert weights.shape == (2, 1, 1, 128)
    assert ((weights > 0) & (weights < 1)).all()
    assert weighed == pytest.approx(maps * weights, abs=1e-6)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", ["basic_cnn", "vgg19_finetuned"])
def test_logit_and_probability_are_float32_also_in_mixed_precision(name: str) -> None:
    model = models.build(name, VGG_SIZE, None)
    assert model.get_layer(LOGIT).compute_dtype == "float32"
    assert model.output.dtype == "float32"
    assert logits_of(model, random_images(1, VGG_SIZE)).dtype == np.float32
    convolution = "conv1" if name == "basic_cnn" else "block1_conv1"
    assert model.get_layer(convolution).compute_dtype == "bfloat16"


def test_only_the_head_and_what_is_to_be_finetuned_learns(random_vgg: keras.Model) -> None:
    learning = {layer.name for layer in random_vgg.layers if layer.trainable_weights}
    finetuned = {name for name in CONVOLUTIONS if name.startswith(("block4", "block5"))}
    assert len(finetuned) == 8
    assert learning == (HEAD if random_vgg.name == "vgg19_frozen" else HEAD | finetuned)


def test_everything_in_basic_cnn_learns(basic_cnn: keras.Model) -> None:
    assert not basic_cnn.non_trainable_weights


def test_a_random_vgg_sees_rgb_from_0_to_1(random_vgg: keras.Model) -> None:
    images = random_images(2, VGG_SIZE)
    received = first_convolution_receives(random_vgg, images)
    assert received == pytest.approx(images / 255, abs=1e-6)


def test_a_pretrained_vgg_sees_what_keras_preprocessing_gives(pretrained_vgg: keras.Model) -> None:
    images = random_images(2, VGG_SIZE)
    expected = keras.applications.vgg19.preprocess_input(images.astype("float32"))
    assert np.array_equal(first_convolution_receives(pretrained_vgg, images), expected)


@pytest.mark.usefixtures("bfloat16")
def test_neighbouring_grey_values_stay_apart_in_mixed_precision(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "vgg19.h5", CONVOLUTIONS)
    model = models.build("vgg19_frozen", VGG_SIZE, path)
    centred = keras.Model(model.input, model.get_layer("subtract_mean").output)
    greys = np.zeros((8, VGG_SIZE, VGG_SIZE, 3), dtype=np.uint8)
    greys[:] = np.arange(248, 256)[:, None, None, None]
    values = centred.predict(greys, verbose=0)[:, 0, 0, 0].astype("float32")
    assert np.diff(values) == pytest.approx(1, abs=1e-4)


def test_pretrained_weights_are_those_of_the_file(pretrained_vgg: keras.Model) -> None:
    for number, name in enumerate(CONVOLUTIONS):
        kernel, bias = pretrained_vgg.get_layer(name).get_weights()
        assert (kernel == np.float32(number / 1000)).all()
        assert (bias == -number).all()


def test_an_image_too_small_for_vgg_is_refused() -> None:
    with pytest.raises(MalariaError, match=r"preprocess\.size is 31.* at least 32"):
        models.build("vgg19_frozen", 31, None)
    assert models.build("basic_cnn", 31, None).input.shape[1] == 31


@pytest.mark.parametrize(
    ("name", "smallest"), [("cnn_base", 18), ("basic_cnn", 16), ("resnet18", 16)]
)
def test_a_model_takes_the_smallest_size_that_it_names(name: str, smallest: int) -> None:
    assert models.build(name, smallest, None).input.shape[1] == smallest
    with pytest.raises(MalariaError, match=f"size is {smallest - 1}: {name} needs at least"):
        models.build(name, smallest - 1, None)


@pytest.mark.parametrize("kind", ["fewer layers", "no HDF5", "an empty HDF5", "missing"])
def test_a_file_that_holds_no_vgg19_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other.h5"
    if kind == "fewer layers":  # VGG16
        write_weights(path, [name for name in CONVOLUTIONS if not name.endswith("conv4")])
    elif kind == "an empty HDF5":
        h5py.File(path, "w").close()
    elif kind == "no HDF5":
        path.write_text("not weights")
    with pytest.raises(MalariaError) as caught:
        models.build("vgg19_frozen", VGG_SIZE, path)
    message = str(caught.value)
    assert f"train.weights: {path} does not hold VGG19 convolutions" in message
    assert "\n" not in message


def test_imagenet_weights_without_network_name_the_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("URL fetch failure:\nno network")

    monkeypatch.setattr("keras.src.applications.vgg19.file_utils.get_file", fail)
    with pytest.raises(MalariaError) as caught:
        models.build("vgg19_finetuned", VGG_SIZE, "imagenet")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train.weights: imagenet", "no network", "MALARIA_MIRROR", "sha256:", "demo"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "layer", "above"),
    [("basic_cnn", "pool2", HEAD | {"conv3"}), ("vgg19_frozen", "block5_pool", HEAD)],
)
def test_a_model_is_its_head_on_its_body(
    built: dict[str, keras.Model], name: str, layer: str, above: set[str]
) -> None:
    images = random_images(3, VGG_SIZE)
    body, head = models.split_at(built[name], layer)
    logits = head.predict(body.predict(images, verbose=0), verbose=0)
    assert logits == pytest.approx(logits_of(built[name], images), abs=1e-5)
    assert {layer.name for layer in head.layers if layer.weights} == above


def test_only_frozen_bodies_end_at_a_layer_of_their_own() -> None:
    for name, architecture in models.ARCHITECTURES.items():
        body = name.startswith("vgg") or name in ("resnet18", "resnet34", "resnet50")
        assert architecture.pretrained == body
        frozen = "block5_pool" if name.endswith("_frozen") else None
        assert architecture.frozen_until == frozen


@pytest.mark.parametrize("name", ["resnet18", "vgg19_finetuned"])
def test_groups_run_from_the_image_to_the_head(built: dict[str, keras.Model], name: str) -> None:
    model = built[name]
    groups = [models.group_of(model, layer) for layer in model.layers if layer.weights]
    assert groups == sorted(groups)
    assert set(groups) == {0, 1, 2}


@pytest.fixture(scope="module")
def resnet18_body() -> keras.Model:
    """KerasHub's own ResNet-18 with weights and statistics of its own."""
    from keras_hub.models import ResNetBackbone

    body = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(VGG_SIZE, VGG_SIZE, 3),
    )
    rng = np.random.default_rng(4)
    body.set_weights([w + abs(rng.normal(0, 0.05, w.shape)) for w in body.get_weights()])
    return body


def test_a_resnet_takes_the_weights_that_kerashub_wrote(
    tmp_path: Path, resnet18_body: keras.Model
) -> None:
    path = tmp_path / "model.weights.h5"
    resnet18_body.save_weights(path)
    images = random_images(2, VGG_SIZE)
    model = models.build("resnet18", VGG_SIZE, path)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = resnet18_body.predict((images / 255 - mean) / std, verbose=0)
    inside = keras.Model(model.input, model.get_layer("stack3_block1_out").output)
    assert inside.predict(images, verbose=0) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_file_that_holds_another_resnet_is_named(
    tmp_path: Path, resnet18_body: keras.Model
) -> None:
    path = tmp_path / "model.weights.h5"
    resnet18_body.save_weights(path)
    with pytest.raises(MalariaError, match="does not hold resnet50, as KerasHub writes"):
        models.build("resnet50", VGG_SIZE, path)


def test_a_resnet_takes_timms_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All but the download: a folder as Hugging Face has it, with weights of our own.
    rng = np.random.default_rng(6)
    tensors: dict[str, np.ndarray] = {}

    def add(convolution: str, norm: str, channels: int, filters: int, size: int) -> None:
        shape = (filters, channels, size, size)
        tensors[f"{convolution}.weight"] = rng.normal(0, 0.05, shape).astype("float32")
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{name}"] = rng.uniform(0.5, 1, filters).astype("float32")

    add("conv1", "bn1", 3, 64, 7)
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", channels, filters, 3)
            add(f"{name}.conv2", f"{name}.bn2", filters, filters, 3)
            if channels != filters:
                add(f"{name}.downsample.0", f"{name}.downsample.1", channels, filters, 1)
            channels = filters
    folder = tmp_path / "resnet18"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"architecture": "resnet18", "num_features": 512}')
    monkeypatch.setattr(resnets, "TIMM", f"{tmp_path}/{{name}}")
    model = models.build("resnet18", VGG_SIZE, "imagenet")
    for layer, tensor in (("conv1_conv", "conv1"), ("stack3_block1_2_conv", "layer4.1.conv2")):
        (kernel,) = model.get_layer(layer).get_weights()
        assert np.array_equal(kernel, tensors[f"{tensor}.weight"].transpose(2, 3, 1, 0))
    variance = model.get_layer("stack2_block0_1_bn").moving_variance.numpy()
    assert np.array_equal(variance, tensors["layer3.0.bn1.running_var"])


def test_a_resnets_imagenet_weights_without_network_name_the_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MalariaError, match=r"train\.weights: imagenet could not be downloaded"):
        models.build("resnet34", VGG_SIZE, "imagenet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"),
    [("vgg19_finetuned", None), ("vgg19_finetuned", "file"), ("resnet18", None), ("cnn_se", None)],
)
def test_a_saved_model_works_without_this_library(
    tmp_path: Path, name: str, weights: str | None
) -> None:
    file = write_weights(tmp_path / "vgg19.h5", CONVOLUTIONS) if weights else None
    model = models.build(name, VGG_SIZE, file)
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
