"""The device, and what is fixed before a model is built."""

import random
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from malaria import backend
from malaria.errors import MalariaError


@pytest.fixture(autouse=True)
def restored_policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine that has a GPU; the list tells what was done to it."""
    done: list[str] = []
    monkeypatch.setattr(backend, "_has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_hide_gpus", lambda: done.append("hidden"))
    return done


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_has_gpu", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_refused_with_the_remedies() -> None:
    with pytest.raises(MalariaError) as caught:
        backend.prepare("gpu", "float32", 1)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train.device is 'gpu'", "uv sync --extra gpu", "'auto'", "'cpu'"):
        assert part in message


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_trains(device: str) -> None:
    assert backend.prepare(device, "float32", 1) == "cpu"


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_a_gpu_is_used_where_there_is_one(gpu: list[str], device: str) -> None:
    assert backend.prepare(device, "float32", 1) == "gpu"
    assert gpu == []


def test_the_cpu_trains_where_it_is_asked_for_and_the_gpu_is_left_alone(gpu: list[str]) -> None:
    assert backend.prepare("cpu", "float32", 1) == "cpu"
    assert gpu == ["hidden"]


def test_auto_finds_what_this_machine_has() -> None:
    if backend._has_gpu():
        pytest.skip("this machine has a GPU")
    assert backend.prepare("auto", "float32", 1) == "cpu"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_layers_compute_in_the_precision_asked_for(precision: str) -> None:
    backend.prepare("auto", precision, 1)
    assert keras.layers.Dense(1).compute_dtype == precision.removeprefix("mixed_")


def test_the_seed_fixes_every_random_generator() -> None:
    def draw(seed: int) -> tuple[float, ...]:
        backend.prepare("auto", "float32", seed)
        weights = keras.initializers.GlorotUniform()((3, 3))
        return (
            random.random(),
            float(np.random.random()),
            float(keras.random.uniform(())),
            float(keras.ops.sum(weights)),
        )

    first = draw(1)
    assert draw(1) == first
    assert all(again != before for again, before in zip(draw(2), first, strict=True))


def test_operations_are_made_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has to be told")
    import tensorflow as tf

    done = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: done.append("determinism")
    )
    backend.prepare("auto", "float32", 1)
    assert done == ["determinism"]
