"""The device, and what is fixed before a model is built."""

import random
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from malaria import backend
from malaria.batches import Share
from malaria.cluster import ADDRESS, PROCESS, PROCESSES
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
    assert backend.prepare(device, "float32", 1).device == "cpu"


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_a_gpu_is_used_where_there_is_one(gpu: list[str], device: str) -> None:
    assert backend.prepare(device, "float32", 1).device == "gpu"
    assert gpu == []


def test_the_cpu_trains_where_it_is_asked_for_and_the_gpu_is_left_alone(gpu: list[str]) -> None:
    assert backend.prepare("cpu", "float32", 1).device == "cpu"
    assert gpu == ["hidden"]


def test_auto_finds_what_this_machine_has() -> None:
    if backend._has_gpu():
        pytest.skip("this machine has a GPU")
    assert backend.prepare("auto", "float32", 1).device == "cpu"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_layers_compute_in_the_precision_asked_for(precision: str) -> None:
    assert backend.prepare("auto", precision, 1).precision == precision
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


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx512f avx512_bf16 sse", "mixed_bfloat16"),
        ("fpu amx_bf16", "mixed_bfloat16"),
        ("fpu avx512f", "float32"),
        ("", "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, precision: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: spectre\n")
    monkeypatch.setattr(backend, "CPUINFO", cpuinfo)
    assert backend.prepare("auto", "auto", 1).precision == precision
    assert keras.config.dtype_policy().name == precision


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_float32_where_nobody_tells_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backend, "CPUINFO", tmp_path / "missing")
    assert backend.prepare("auto", "auto", 1).precision == "float32"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("capability", "precision"),
    [(7.5, "float32"), (8.0, "mixed_bfloat16"), (9.0, "mixed_bfloat16")],
)
def test_auto_takes_bfloat16_where_the_gpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: float, precision: str
) -> None:
    monkeypatch.setattr(backend, "_compute_capability", lambda: capability)
    assert backend.prepare("auto", "auto", 1).precision == precision


@pytest.mark.parametrize("distribution", ["auto", "single"])
def test_one_device_takes_whole_batches(distribution: str) -> None:
    assert backend.prepare("auto", "float32", 1, distribution).share == Share()


def test_devices_that_tensorflow_leaves_idle_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("for TensorFlow alone")
    assert backend.prepare("cpu", "float32", 1, "auto").idle == 0
    monkeypatch.setattr(backend, "_count", lambda device: 4)
    prepared = backend.prepare("cpu", "float32", 1, "auto")
    assert (prepared.share, prepared.idle) == (Share(), 3)


def test_tensorflow_is_refused_for_several_devices() -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("for TensorFlow alone")
    with pytest.raises(MalariaError) as caught:
        backend.prepare("auto", "float32", 1, "data_parallel")
    for part in ("'data_parallel'", "tensorflow backend", "uv sync --extra jax", "KERAS_BACKEND"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("distribution", "said"),
    [
        ("auto", "tensorflow backend trains on one device"),
        ("single", "train.distribution is 'single'"),
    ],
)
def test_a_cluster_that_would_not_train_together_is_refused(
    monkeypatch: pytest.MonkeyPatch, distribution: str, said: str
) -> None:
    for name, value in {ADDRESS: "127.0.0.1:1", PROCESSES: "2", PROCESS: "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MalariaError, match=said) as caught:
        backend.prepare("auto", "float32", 1, distribution)
    assert f"{PROCESSES} is 2" in str(caught.value)


def test_what_tensorflow_raises_for_too_little_memory_is_recognised() -> None:
    with pytest.raises(Exception, match=r"OOM|memory") as caught:
        keras.ops.zeros((1 << 24, 1 << 24))  # a petabyte
    assert backend.is_out_of_memory(caught.value)
    assert backend.is_out_of_memory(MemoryError())
    assert not backend.is_out_of_memory(ValueError("RESOURCE"))
