"""What of the environment would change the bytes that are computed, fixed before Keras starts.

Importing `malaria` does this. It lies in this package because an edit has to rerun every stage.
"""

import json
import os
from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path

from malaria.errors import MalariaError

# TensorFlow splits a sum among its threads, so their number changes its last bits; without this it
# is that of the cores. The same number on fewer cores gives the same bytes: measured, 8 instead of
# 2 threads on two cores cost basic_cnn a tenth of its speed and VGG19 nothing.
THREADS = 8
FIXED = {
    "TF_NUM_INTRAOP_THREADS": str(THREADS),
    "NPROC": str(THREADS),  # XLA's name of it, for JAX on the CPU
    "TF_ENABLE_ONEDNN_OPTS": "1",  # TensorFlow's default, whose kernels round in their own way
}
CHANGE_RESULTS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")
BACKEND = "KERAS_BACKEND"
BACKENDS = ("tensorflow", "jax")  # the first is taken if the variable names none
HOME = "KERAS_HOME"
# Of keras.json, whose `backend` is not read because KERAS_BACKEND counts more.
KERAS_DEFAULTS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "nnx_enabled": False,
}


def fix(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set and remove variables, and give Keras a folder without another project's settings."""
    environ.update(FIXED)
    for name in CHANGE_RESULTS:
        environ.pop(name, None)
    environ[BACKEND] = environ.get(BACKEND) or BACKENDS[0]
    folder = _keras_home(environ)
    if not _has_defaults(folder / "keras.json"):
        environ[HOME] = str(folder / "malaria")  # Keras makes it, with a keras.json of defaults


def check_backend(environ: Mapping[str, str] = os.environ) -> str:
    """Return Keras' backend; raises MalariaError for one that is not installed or not usable."""
    backend = environ.get(BACKEND) or BACKENDS[0]
    if backend not in BACKENDS:
        raise MalariaError(
            f"{BACKEND} is {backend!r}, but the networks here run on {' or '.join(BACKENDS)}; set "
            "it to one of them or unset it."
        )
    if find_spec(backend) is None:
        raise MalariaError(
            f"{BACKEND} is {backend!r}, but the package {backend} is not installed; install it "
            "(for jax: `uv sync --extra jax`) or unset it."
        )
    return backend


def _keras_home(environ: Mapping[str, str]) -> Path:
    """Return the folder that Keras will use."""
    if HOME in environ:
        return Path(environ[HOME]).expanduser()
    home = os.path.expanduser("~")  # noqa: PTH111 (as Keras does it: stays ~ without a home)
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")  # noqa: S108


def _has_defaults(path: Path) -> bool:
    """Return whether a keras.json, if there is one, changes nothing."""
    try:
        content = json.loads(path.read_text())
        return all(content.get(key, default) == default for key, default in KERAS_DEFAULTS.items())
    except FileNotFoundError:
        return True
    except (OSError, ValueError, AttributeError):
        return False
