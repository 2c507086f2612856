"""train.weights vgg16: VGG16 and VGG19 that start from Keras' VGG16, whoever brings the file."""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from malaria.core.files import MIRROR
from malaria.errors import MalariaError
from malaria.models.base import vgg16
from malaria.models.base.arrays import content_of, read_arrays
from malaria.models.base.build import build
from tests.conftest import REPO
from tests.models.conftest import CONVOLUTIONS, SIZE, write_weights

SHARED = REPO / "../shared/weights"
OURS = SHARED / "vgg19_from_vgg16_notop.h5"
VGG16 = [name for name in CONVOLUTIONS if not name.endswith("conv4")]
SMALL = 1.0001  # a factor that half precision does not see


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras' folder, without the file, and no mirror."""
    folder = tmp_path / "keras"
    (folder / "models").mkdir(parents=True)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(folder))
    monkeypatch.setattr(vgg16, "URL", "http://127.0.0.1:9/nothing")
    monkeypatch.delenv(MIRROR, raising=False)
    return folder


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in Keras' layout with constant kernels: a few kilobytes for the same shapes."""
    return write_weights(tmp_path_factory.mktemp("weights") / "vgg16.h5", VGG16)


@pytest.fixture
def pinned(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small file in the place of Keras' own."""
    arrays = {name: array.astype("f2") for name, array in read_arrays(small_file).items()}
    monkeypatch.setattr(vgg16, "CONTENT", content_of(arrays))
    return small_file


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that stands for Keras' address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(vgg16, "URL", f"http://127.0.0.1:{running.server_port}/{vgg16.FILE}")
        yield folder
        running.shutdown()


def kernel_of(model: keras.Model, layer: str) -> np.ndarray:
    return np.asarray(model.get_layer(layer).get_weights()[0])


def test_the_file_is_the_one_that_keras_downloads() -> None:
    from keras.src.applications import vgg16 as keras_vgg16

    assert vgg16.URL == keras_vgg16.WEIGHTS_PATH_NO_TOP
    assert set(VGG16) == vgg16.CONVOLUTIONS


@pytest.mark.usefixtures("keras_home")
def test_a_mirrored_file_makes_vgg19_with_identities(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(pinned.parent))
    model = build("vgg19_frozen", SIZE, "vgg16")
    for number, name in enumerate(VGG16):
        assert (kernel_of(model, name) == np.float16(number / 1000)).all()
        assert (model.get_layer(name).get_weights()[1] == -number).all()
    for name in set(CONVOLUTIONS) - set(VGG16):
        kernel, bias = model.get_layer(name).get_weights()
        assert np.array_equal(kernel[1, 1], np.eye(kernel.shape[2]))
        assert np.count_nonzero(kernel) == kernel.shape[2]
        assert not bias.any()
    assert model.get_layer("subtract_mean")


def test_a_download_is_kept_where_keras_keeps_it(
    keras_home: Path, pinned: Path, server: Path
) -> None:
    shutil.copy(pinned, server / vgg16.FILE)
    first = build("vgg16_frozen", SIZE, "vgg16")
    (server / vgg16.FILE).unlink()
    assert (keras_home / "models" / vgg16.FILE).read_bytes() == pinned.read_bytes()
    again = build("vgg16_frozen", SIZE, "vgg16")
    for name in VGG16:
        assert np.array_equal(kernel_of(first, name), kernel_of(again, name))


def test_half_a_download_is_replaced(keras_home: Path, pinned: Path, server: Path) -> None:
    shutil.copy(pinned, server / vgg16.FILE)
    kept = keras_home / "models" / vgg16.FILE
    kept.write_bytes(pinned.read_bytes()[:1000])
    build("vgg16_frozen", SIZE, "vgg16")
    assert kept.read_bytes() == pinned.read_bytes()


@pytest.mark.usefixtures("keras_home")
def test_other_arrays_are_refused(small_file: Path, server: Path) -> None:
    shutil.copy(small_file, server / vgg16.FILE)
    with pytest.raises(
        MalariaError, match=r"does not hold the arrays that `vgg16` pins; set train"
    ):
        build("vgg16_frozen", SIZE, "vgg16")


@pytest.mark.usefixtures("keras_home")
def test_without_network_and_file_the_remedies_are_named() -> None:
    with pytest.raises(MalariaError) as caught:
        build("vgg19_finetuned", SIZE, "vgg16")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "train.weights: vgg16 could not be",
        "URL fetch failure",
        "MALARIA_MIRROR",
        "demo",
    ):
        assert part in message


def test_a_resnet_has_no_use_for_them() -> None:
    with pytest.raises(MalariaError, match=r"is vgg16, but train.model resnet18 is a ResNet"):
        build("resnet18", SIZE, "vgg16")


@pytest.mark.skipif(not OURS.exists(), reason="the weights are not in ../shared/weights")
def test_keras_file_and_ours_give_the_same_model(keras_home: Path) -> None:
    """In single precision, as Keras has it, and without a mirror, as somebody else has it."""
    kept = keras_home / "models" / vgg16.FILE
    shutil.copy(SHARED / "vgg16_imagenet_notop.h5", kept)
    with h5py.File(kept, "a") as file:
        for name in VGG16:
            for weight in file[name].attrs["weight_names"]:
                halves = file[name][weight][...]
                del file[name][weight]
                file[name][weight] = halves.astype("f4") * np.float32(SMALL)
    models = []
    for weights in ("vgg16", OURS):
        keras.utils.set_random_seed(1)
        models.append(build("vgg19_finetuned", SIZE, weights))
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.skipif(not OURS.exists(), reason="the weights are not in ../shared/weights")
def test_the_pinned_arrays_have_the_values_that_keras_file_is_known_for() -> None:
    """As public notebooks print them, from single precision."""
    known = {
        ("block1_conv1/0", (0, 0, 0, 0)): 4.29470569e-01,
        ("block1_conv1/0", (0, 0, 2, 1)): -1.72696680e-01,
        ("block1_conv1/1", (25,)): 0.7446502,
        ("block1_conv2/0", (2, 2, 63, 63)): 0.016082443,
        ("block2_conv1/1", (1,)): 0.06440781,
        ("block5_conv1/0", (1, 0, 63, 269)): -0.011236359,
        ("block5_conv2/1", (510,)): 0.23517226,
        ("block5_conv3/0", (0, 2, 0, 400)): -0.008714244,
    }
    arrays = read_arrays(SHARED / "vgg16_imagenet_notop.h5")
    assert content_of(arrays) == vgg16.CONTENT
    for (name, place), value in known.items():
        assert arrays[name][place] == np.float16(value)
