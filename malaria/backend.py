"""The device that trains: the only module that knows which backend Keras runs on."""

from dataclasses import dataclass
from pathlib import Path

import keras

from malaria.errors import MalariaError

BFLOAT16 = "mixed_bfloat16"
FIRST_WITH_BFLOAT16 = 8.0  # compute capability of an NVIDIA GPU (Ampere)
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of a CPU
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Prepared:
    """What training runs on."""

    device: str  # 'gpu' or 'cpu'
    precision: str  # a dtype policy of Keras


def prepare(device: str, precision: str, seed: int) -> Prepared:
    """Set device, precision, seed and determinism; return what was chosen.

    `device` is 'auto', 'cpu' or 'gpu'; `precision` is a dtype policy or 'auto', which takes
    mixed_bfloat16 where the hardware computes in it. Raises MalariaError for a GPU that is not
    there. Call it before a model is built.
    """
    has_gpu = _has_gpu()
    if device == "gpu" and not has_gpu:
        raise MalariaError(
            f"train.device is 'gpu', but Keras' {keras.backend.backend()} backend sees none; "
            "check the driver and install the extra with `uv sync --extra gpu`, "
            "or set train.device to 'auto' or 'cpu'."
        )
    if device == "cpu" and has_gpu:
        _hide_gpus()
    used = "gpu" if has_gpu and device != "cpu" else "cpu"
    if precision == "auto":
        precision = BFLOAT16 if _has_bfloat16(used) else "float32"
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    _make_deterministic()
    return Prepared(used, precision)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether host or device refused memory."""
    if isinstance(error, MemoryError):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError)
    return "RESOURCE_EXHAUSTED" in str(error)


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


def _make_deterministic() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
