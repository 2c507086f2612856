"""The device, and what is fixed before a model is built."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.training import backend
from malaria.training.backend import prepare
from malaria.training.batches import Share
from malaria.training.cluster import ADDRESS, PROCESS, PROCESSES

of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only for TensorFlow"
)


@pytest.fixture(autouse=True)
def restored_policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with a GPU; the list says what was done to it."""
    done: list[str] = []
    monkeypatch.setattr(backend, "_has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_hide_gpus", lambda: done.append("hidden"))
    return done


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_has_gpu", lambda: False)


def refusal(*given: Any) -> str:
    """Return the sentence with which `prepare` refuses."""
    with pytest.raises(MalariaError) as caught:
        prepare(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_refused_with_the_remedies() -> None:
    message = refusal("gpu", "float32", 1)
    for part in ("train.device is 'gpu'", "uv sync --extra gpu", "'auto'", "'cpu'"):
        assert part in message


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_trains(device: str) -> None:
    assert prepare(device, "float32", 1).device == "cpu"


@pytest.mark.parametrize(
    ("device", "used", "done"),
    [("auto", "gpu", []), ("gpu", "gpu", []), ("cpu", "cpu", ["hidden"])],
)
def test_a_gpu_is_used_unless_the_cpu_is_asked_for(
    gpu: list[str], device: str, used: str, done: list[str]
) -> None:
    assert prepare(device, "float32", 1).device == used
    assert gpu == done


def test_auto_finds_what_this_machine_has() -> None:
    assert prepare("auto", "float32", 1).device == ("gpu" if backend._has_gpu() else "cpu")


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_layers_compute_in_the_precision_asked_for(precision: str) -> None:
    assert prepare("auto", precision, 1).precision == precision
    assert keras.layers.Dense(1).compute_dtype == precision.removeprefix("mixed_")


def test_the_seed_fixes_every_random_generator() -> None:
    def draw(seed: int) -> list[float]:
        prepare("auto", "float32", seed)
        weights = keras.initializers.GlorotUniform()((3, 3))
        uniform, total = keras.random.uniform(()), keras.ops.sum(weights)
        return [random.random(), float(np.random.random()), float(uniform), float(total)]

    first = draw(1)
    assert draw(1) == first
    assert all(again != before for again, before in zip(draw(2), first, strict=True))


@of_tensorflow
def test_operations_are_made_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    done = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: done.append(1))
    prepare("auto", "float32", 1)
    assert done == [1]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx512f avx512_bf16 sse", "mixed_bfloat16"),
        ("fpu amx_bf16", "mixed_bfloat16"),
        ("fpu avx512f", "float32"),
        ("", "float32"),
        (None, "float32"),  # no such file
    ],
)
def test_auto_takes_bfloat16_if_the_cpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, precision: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: spectre\n")
    monkeypatch.setattr(backend, "CPUINFO", cpuinfo)
    assert prepare("auto", "auto", 1).precision == precision
    assert keras.config.dtype_policy().name == precision


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("capability", "precision"),
    [(7.5, "float32"), (8.0, "mixed_bfloat16"), (9.0, "mixed_bfloat16")],
)
def test_auto_takes_bfloat16_if_the_gpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: float, precision: str
) -> None:
    monkeypatch.setattr(backend, "_compute_capability", lambda: capability)
    assert prepare("auto", "auto", 1).precision == precision


@pytest.mark.parametrize("distribution", ["auto", "single"])
def test_one_device_takes_whole_batches(distribution: str) -> None:
    assert prepare("auto", "float32", 1, distribution).share == Share()


@of_tensorflow
def test_devices_that_tensorflow_leaves_idle_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare("cpu", "float32", 1, "auto").idle == 0
    monkeypatch.setattr(backend, "_count", lambda device: 4)
    runtime = prepare("cpu", "float32", 1, "auto")
    assert (runtime.share, runtime.idle) == (Share(), 3)


@of_tensorflow
def test_tensorflow_is_refused_for_several_devices() -> None:
    message = refusal("auto", "float32", 1, "data_parallel")
    for part in ("'data_parallel'", "tensorflow backend", "uv sync --extra jax", "KERAS_BACKEND"):
        assert part in message


@pytest.mark.parametrize(
    ("distribution", "said"),
    [
        pytest.param("auto", "tensorflow backend trains on one device", marks=of_tensorflow),
        ("single", "train.distribution is 'single'"),
    ],
)
def test_a_cluster_that_would_not_train_together_is_refused(
    monkeypatch: pytest.MonkeyPatch, distribution: str, said: str
) -> None:
    for name, value in {ADDRESS: "127.0.0.1:1", PROCESSES: "2", PROCESS: "0"}.items():
        monkeypatch.setenv(name, value)
    message = refusal("auto", "float32", 1, distribution)
    assert said in message
    assert f"{PROCESSES} is 2" in message


def test_an_error_for_too_little_memory_is_recognised() -> None:
    with pytest.raises(Exception, match=r"OOM|memory") as caught:
        keras.ops.zeros((1 << 24, 1 << 24))  # a petabyte
    assert backend.is_out_of_memory(caught.value)
    assert backend.is_out_of_memory(MemoryError())
    assert not backend.is_out_of_memory(ValueError("RESOURCE"))
