"""The device that trains: the only module that knows which backend Keras runs on."""

import keras

from malaria.errors import MalariaError


def prepare(device: str, precision: str, seed: int) -> str:
    """Set device, precision, seed and determinism; return the device: 'gpu' or 'cpu'.

    `device` is 'auto', 'cpu' or 'gpu'. Raises MalariaError for a GPU that is not there.
    Call it before a model is built.
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
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    _make_deterministic()
    return "gpu" if has_gpu and device != "cpu" else "cpu"


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
