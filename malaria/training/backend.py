"""The devices of a training; with explanation/gradients.py the only code for one backend."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import keras

from malaria.errors import MalariaError
from malaria.quiet_keras import held_back
from malaria.training.batches import ALL, Share
from malaria.training.cluster import PROCESSES, Cluster, read_cluster

BFLOAT16 = "mixed_bfloat16"
FIRST_WITH_BFLOAT16 = 8.0  # compute capability of an NVIDIA GPU (Ampere)
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of a CPU
TRANSPORTS = re.compile("gloo|nccl|coordination service", re.IGNORECASE)
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Runtime:
    """Where and how a training computes."""

    device: str  # 'gpu' or 'cpu'
    precision: str  # a dtype policy of Keras
    share: Share = ALL  # of each batch
    idle: int = 0  # devices of the same kind that do not train


def prepare(device: str, precision: str, seed: int, distribution: str = "single") -> Runtime:
    """Set device, precision, seed, determinism and distribution; return the choice.

    `device` is 'auto', 'cpu' or 'gpu'; `precision` is a dtype policy or 'auto', which takes
    mixed_bfloat16 if the hardware computes in it; `distribution` is 'single', 'data_parallel'
    or 'auto', which takes all devices that JAX sees. Waits for the other processes, if the
    environment names any. Raises MalariaError for missing devices. Call it before building a
    model.
    """
    with held_back():  # with JAX, TensorFlow starts here, if it is installed
        keras.utils.set_random_seed(seed)  # first, because `_join` would set one
    cluster = _join(read_cluster(), distribution)
    has_gpu = _has_gpu()
    if device == "gpu" and not has_gpu:
        raise MalariaError(
            f"train.device is 'gpu', but Keras' {keras.backend.backend()} backend finds none; "
            "check the driver and install the extra with `uv sync --extra gpu`, "
            "or set train.device to 'auto' or 'cpu'."
        )
    if device == "cpu" and has_gpu:
        _hide_gpus()
    used = "gpu" if has_gpu and device != "cpu" else "cpu"
    if precision == "auto":
        precision = BFLOAT16 if _has_bfloat16(used) else "float32"
    keras.config.set_dtype_policy(precision)
    make_deterministic()
    share = _distribute(distribution, used, cluster)
    return Runtime(used, precision, share, idle=_count(used) - share.devices)


def refuse_difference(value: str, sentence: str) -> None:
    """Raise MalariaError(sentence) in every process if their values differ."""
    if read_cluster().processes == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), dtype=np.uint8)
    if len(np.unique(multihost_utils.process_allgather(digest), axis=0)) > 1:
        raise MalariaError(sentence)


def leave() -> None:
    """Leave the other processes: from here on, one device of this process computes."""
    keras.distribution.set_distribution(None)
    if read_cluster().processes > 1:
        import jax

        jax.distributed.shutdown()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the host or the device ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError)
    return "RESOURCE_EXHAUSTED" in str(error)


def is_lost_process(error: BaseException) -> bool:
    """Return whether another process of the cluster stopped responding."""
    if read_cluster().processes == 1:
        return False
    import jax

    # JAX passes on the errors of its transports, which have several types.
    return isinstance(error, jax.errors.JaxRuntimeError) or bool(TRANSPORTS.search(str(error)))


def _has_bfloat16(device: str) -> bool:
    if device == "gpu":
        return _compute_capability() >= FIRST_WITH_BFLOAT16
    if not CPUINFO.exists():  # not Linux
        return False
    lines = CPUINFO.read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(BFLOAT16_FLAGS & set(flags.split()))


def _compute_capability() -> float:
    """Return the first GPU's compute capability."""
    if keras.backend.backend() == "jax":
        import jax

        return float(jax.devices("gpu")[0].compute_capability)
    import tensorflow as tf

    gpu = tf.config.list_physical_devices("GPU")[0]
    major, minor = tf.config.experimental.get_device_details(gpu)["compute_capability"]
    return float(f"{major}.{minor}")


def _has_gpu() -> bool:
    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _hide_gpus() -> None:
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_default_device", jax.devices("cpu")[0])
        return
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _join(cluster: Cluster, distribution: str) -> Cluster:
    """Connect to the cluster's other processes; JAX may not look for devices before."""
    if cluster.processes == 1:
        return cluster
    asked = f"{PROCESSES} is {cluster.processes}"
    if distribution == "single":
        raise MalariaError(
            f"{asked}, but train.distribution is 'single', which trains in one process; "
            "unset the variable or set train.distribution to 'auto'."
        )
    _refuse_tensorflow(asked)
    print(
        f"train: process {cluster.process + 1} of {cluster.processes} waits up to five minutes for "
        f"the others at {cluster.address}",
        flush=True,
    )
    keras.distribution.initialize()  # ends the process if the others do not come
    return cluster


def _distribute(distribution: str, device: str, cluster: Cluster) -> Share:
    """Distribute the models built from now on; return this process' share of their batches."""
    if distribution == "data_parallel":
        _refuse_tensorflow("train.distribution is 'data_parallel'")
    if distribution == "single" or keras.backend.backend() != "jax":
        return ALL
    if _count(device) == 1:
        if distribution == "auto":
            return ALL
        raise MalariaError(
            f"train.distribution is 'data_parallel', but JAX sees one {device} and {PROCESSES} is "
            "not set; set train.distribution to 'auto' or 'single'."
        )
    devices = keras.distribution.list_devices(device)
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )
    return Share(len(devices), cluster.processes, cluster.process)


def _count(device: str) -> int:
    """Return the number of devices of a kind, in all processes."""
    return len(keras.distribution.list_devices(device))


def _refuse_tensorflow(asked: str) -> None:
    if keras.backend.backend() != "jax":
        raise MalariaError(
            f"{asked}, but Keras' {keras.backend.backend()} backend trains on one device; "
            "run `uv sync --extra jax` and set KERAS_BACKEND=jax."
        )


def make_deterministic() -> None:
    """Make equal computations give equal bits; `prepare` does this for a training."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
