"""Every system, built once, and weights for VGG19."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import pytest

from malaria.models.base.build import build
from malaria.models.base.system import names

SIZE = 32  # pixels a side; the least that VGG takes
BLOCKS = {1: (64, 2), 2: (128, 2), 3: (256, 4), 4: (512, 4), 5: (512, 4)}  # filters, convolutions
CONVOLUTIONS = [f"block{block}_conv{n + 1}" for block in BLOCKS for n in range(BLOCKS[block][1])]


@pytest.fixture(scope="session")
def built() -> dict[str, keras.Model]:
    """Every system by name, with random weights."""
    keras.utils.set_random_seed(1)
    return {name: build(name, SIZE, None) for name in names()}


@pytest.fixture
def bfloat16() -> Iterator[None]:
    """Layers that compute in bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def write_weights(path: Path, convolutions: list[str] = CONVOLUTIONS) -> Path:
    """Write constant weights in the layout of Keras' VGG files; kernel i is all i / 1000."""
    channels = 3
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in convolutions]
        for number, name in enumerate(convolutions):
            filters = BLOCKS[int(name[5])][0]
            group = file.create_group(name)
            names = [f"{name}/kernel:0", f"{name}/bias:0"]
            group.attrs["weight_names"] = [weight.encode() for weight in names]
            # A dataset that is never written takes no space: every value is its fill value.
            group.create_dataset(names[0], (3, 3, channels, filters), "f4", fillvalue=number / 1000)
            group.create_dataset(names[1], (filters,), "f4", fillvalue=-number)
            channels = filters
    return path
