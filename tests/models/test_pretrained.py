"""Pre-trained bodies: the weights of files and of ImageNet, and what the bodies see."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from malaria.errors import MalariaError
from malaria.models.base import resnet
from malaria.models.base.build import build
from tests.conftest import random_images
from tests.models.conftest import CONVOLUTIONS, SIZE, write_weights


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    return build("vgg19_finetuned", SIZE, write_weights(tmp_path_factory.mktemp("vgg") / "vgg.h5"))


@pytest.fixture(scope="module")
def resnet18_body() -> keras.Model:
    """KerasHub's ResNet-18 with other weights and statistics than it starts with."""
    from keras_hub.models import ResNetBackbone

    body = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(SIZE, SIZE, 3),
    )
    rng = np.random.default_rng(4)
    body.set_weights([w + abs(rng.normal(0, 0.05, w.shape)) for w in body.get_weights()])
    return body


def vgg_sees(model: keras.Model, images: np.ndarray) -> np.ndarray:
    inside = model.get_layer("block1_conv1").input
    return keras.Model(model.input, inside).predict(images, verbose=0)


@pytest.mark.parametrize("name", ["vgg19_frozen", "vgg19_finetuned"])
def test_a_random_vgg_sees_rgb_from_0_to_1(built: dict[str, keras.Model], name: str) -> None:
    images = random_images(2, SIZE)
    assert vgg_sees(built[name], images) == pytest.approx(images / 255, abs=1e-6)


def test_a_pretrained_vgg_sees_what_keras_preprocessing_gives(vgg: keras.Model) -> None:
    images = random_images(2, SIZE)
    expected = keras.applications.vgg19.preprocess_input(images.astype("float32"))
    assert np.array_equal(vgg_sees(vgg, images), expected)


@pytest.mark.usefixtures("bfloat16")
def test_neighbouring_grey_values_stay_apart_in_mixed_precision(tmp_path: Path) -> None:
    model = build("vgg19_frozen", SIZE, write_weights(tmp_path / "vgg19.h5"))
    centred = keras.Model(model.input, model.get_layer("subtract_mean").output)
    greys = np.zeros((8, SIZE, SIZE, 3), dtype=np.uint8)
    greys[:] = np.arange(248, 256)[:, None, None, None]
    values = centred.predict(greys, verbose=0)[:, 0, 0, 0].astype("float32")
    assert np.diff(values) == pytest.approx(1, abs=1e-4)


def test_a_vgg_takes_the_weights_of_the_file(vgg: keras.Model) -> None:
    for number, name in enumerate(CONVOLUTIONS):
        kernel, bias = vgg.get_layer(name).get_weights()
        assert (kernel == np.float32(number / 1000)).all()
        assert (bias == -number).all()


@pytest.mark.parametrize("kind", ["fewer layers", "no HDF5", "an empty HDF5", "missing"])
def test_a_file_without_vgg19_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other.h5"
    if kind == "fewer layers":  # VGG16
        write_weights(path, [name for name in CONVOLUTIONS if not name.endswith("conv4")])
    elif kind == "an empty HDF5":
        h5py.File(path, "w").close()
    elif kind == "no HDF5":
        path.write_text("not weights")
    with pytest.raises(MalariaError) as caught:
        build("vgg19_frozen", SIZE, path)
    message = str(caught.value)
    assert f"train.weights: {path} does not hold VGG19 convolutions" in message
    assert "\n" not in message


def test_a_resnet_takes_the_weights_that_kerashub_wrote(
    tmp_path: Path, resnet18_body: keras.Model
) -> None:
    path = tmp_path / "model.weights.h5"
    resnet18_body.save_weights(path)
    images = random_images(2, SIZE)
    model = build("resnet18", SIZE, path)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = resnet18_body.predict((images / 255 - mean) / std, verbose=0)
    inside = keras.Model(model.input, model.get_layer("stack3_block1_out").output)
    assert inside.predict(images, verbose=0) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    with pytest.raises(MalariaError, match="does not hold resnet50, as KerasHub writes"):
        build("resnet50", SIZE, path)


def test_a_resnet_takes_timms_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All but the download: a folder as Hugging Face has it, with random weights.
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
    monkeypatch.setattr(resnet, "TIMM", f"{tmp_path}/{{name}}")
    model = build("resnet18", SIZE, "imagenet")
    for layer, tensor in (("conv1_conv", "conv1"), ("stack3_block1_2_conv", "layer4.1.conv2")):
        (kernel,) = model.get_layer(layer).get_weights()
        assert np.array_equal(kernel, tensors[f"{tensor}.weight"].transpose(2, 3, 1, 0))
    variance = model.get_layer("stack2_block0_1_bn").moving_variance.numpy()
    assert np.array_equal(variance, tensors["layer3.0.bn1.running_var"])


@pytest.mark.parametrize("name", ["vgg19_finetuned", "resnet34"])
def test_imagenet_weights_without_network_name_the_remedies(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("URL fetch failure:\nno network")

    monkeypatch.setattr("keras.src.applications.vgg19.file_utils.get_file", fail)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MalariaError) as caught:
        build(name, SIZE, "imagenet")
    message = str(caught.value)
    assert "\n" not in message
    assert ("no network" in message) == (name == "vgg19_finetuned")
    for part in ("train.weights: imagenet could not be", "MALARIA_MIRROR", "malaria pin", "demo"):
        assert part in message
