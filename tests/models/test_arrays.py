"""The identity of weights: what their arrays hold, and nothing of the file around them."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from malaria.core.files import MIRROR
from malaria.errors import MalariaError
from malaria.models.base.arrays import content_of, mirrored, read_arrays

KERNEL = np.arange(12, dtype="float32").reshape(3, 4)
BIAS = np.array([0.5, -1, 2, 0], dtype="float16")
ARRAYS = {"dense/0": KERNEL, "dense/1": BIAS}


def write_layers(
    path: Path, first: str = "kernel:0", second: str = "bias:0", **how: object
) -> Path:
    """Write ARRAYS in Keras' older layout, under any names inside a layer."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input", b"dense"]
        file.create_group("input").attrs["weight_names"] = []
        group = file.create_group("dense")
        group.attrs["weight_names"] = [f"dense/{first}".encode(), f"dense/{second}".encode()]
        group.create_dataset(f"dense/{second}", data=BIAS)
        group.create_dataset(f"dense/{first}", data=KERNEL, **how)
    return path


def test_the_identity_is_the_documented_hash() -> None:
    lines = [b"dense/0 float32 3x4\n", KERNEL.tobytes(), b"dense/1 float16 4\n", BIAS.tobytes()]
    assert content_of(ARRAYS) == hashlib.sha256(b"".join(lines)).hexdigest()


def test_order_and_memory_layout_are_no_part_of_it() -> None:
    other = {"dense/1": BIAS.astype(">f2"), "dense/0": np.asfortranarray(KERNEL)}
    assert content_of(other) == content_of(ARRAYS)


@pytest.mark.parametrize(
    "change",
    [
        {"dense/0": KERNEL + np.eye(3, 4, dtype="float32")},
        {"dense/0": KERNEL.reshape(4, 3)},
        {"dense/0": KERNEL.astype("float64")},
        {"dense/2": BIAS},
    ],
    ids=["value", "shape", "dtype", "one more"],
)
def test_each_part_of_an_array_counts(change: dict[str, np.ndarray]) -> None:
    assert content_of(ARRAYS | change) != content_of(ARRAYS)


def test_another_container_has_the_same_content(tmp_path: Path) -> None:
    plain = write_layers(tmp_path / "a.h5")
    other = write_layers(tmp_path / "b.h5", "W_1:0", "b_1:0", compression="gzip", chunks=(1, 4))
    assert plain.read_bytes() != other.read_bytes()
    for path in (plain, other):
        assert content_of(read_arrays(path)) == content_of(ARRAYS)


def test_a_file_without_layers_has_the_names_of_its_paths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", data=KERNEL)
    (name, array), *more = read_arrays(tmp_path / "model.weights.h5").items()
    assert (name, more) == ("layers/dense/vars/0", [])
    assert np.array_equal(array, KERNEL)
    assert read_arrays(tmp_path / "model.weights.h5", lambda name: "conv" in name) == {}


def test_a_mirror_gives_its_weights_and_passes_over_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path))
    (tmp_path / "cell.png").write_bytes(b"no HDF5")
    (tmp_path / "deep").mkdir()
    whole = write_layers(tmp_path / "deep/any name.bin")
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:-600])
    assert [path for path, _ in mirrored()] == [whole]
    with pytest.raises(MalariaError, match=r"cut.h5 cannot be read as a file of weights \("):
        read_arrays(tmp_path / "cut.h5")
