"""Keras' ImageNet weights of VGG16 as a start for VGG16 and VGG19, pinned by their content."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import keras
import numpy as np

from malaria.errors import MalariaError
from malaria.models.base.arrays import Arrays, content_of, mirrored, read_arrays

FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"  # as Keras calls it
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE}"
# Of the 13 convolutions' kernels (place 0) and biases (1), rounded to float16.
CONTENT = "cae8674a1de9fb3b17e013ccea85ffbe937dfaecd5a2ba9d7e3b7c92fd6429ea"
CONVOLUTIONS = {
    f"block{block}_conv{number}"
    for block, count in enumerate((2, 2, 3, 3, 3), start=1)
    for number in range(1, count + 1)
}


def start_from_vgg16(body: keras.Model) -> None:
    """Give the convolutions of Keras' VGG16 or VGG19 the weights of VGG16, in half precision.

    VGG19's fourth convolutions in blocks 3 to 5 become the identity, so both compute the same.
    Raises MalariaError if the weights are not available.
    """
    arrays = _arrays()
    for layer in body.layers:
        if layer.name in CONVOLUTIONS:
            layer.set_weights([arrays[f"{layer.name}/{place}"] for place in (0, 1)])
        elif isinstance(layer, keras.layers.Conv2D):
            kernel, bias = map(np.zeros_like, layer.get_weights())
            kernel[1, 1] = np.eye(kernel.shape[2])
            layer.set_weights([kernel, bias])


def _arrays() -> Arrays:
    """Return the pinned arrays, from a file in $MALARIA_MIRROR or from Keras' own download."""
    for _, arrays in mirrored(_is_wanted):
        if content_of(halves := _rounded(arrays)) == CONTENT:
            return halves
    # Not by the file's hash, as `weights="imagenet"` asks for it: the arrays count.
    get = partial(keras.utils.get_file, FILE, URL, cache_subdir="models")
    for again in (False, True):  # a killed download leaves the beginning of the file
        path = Path(get(force_download=again))
        with suppress(MalariaError):
            if content_of(halves := _rounded(read_arrays(path, _is_wanted))) == CONTENT:
                return halves
    raise MalariaError(
        f"train.weights: {path}, downloaded from {URL}, does not hold the arrays that `vgg16` "
        "pins; set train.weights to imagenet or none."
    )


def _is_wanted(name: str) -> bool:
    return name.partition("/")[0] in CONVOLUTIONS


def _rounded(arrays: Arrays) -> Arrays:
    with np.errstate(over="ignore"):  # of values that VGG16 does not have
        return {name: array.astype("float16") for name, array in arrays.items()}
