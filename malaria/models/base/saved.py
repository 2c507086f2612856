"""The saved model: a .keras file whose bytes depend only on the model."""

import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from malaria.core.files import replacing
from malaria.errors import MalariaError

LOGIT = "logit"  # the layer before the sigmoid, in every model
CONFIG = "config.json"
MOST_CONFIG_BYTES = 10_000_000  # resnet50's has 172,201
# What a model is made of, and the layers among it that hold code.
PARTS = (
    "activations|constraints|initializers|layers|regularizers|src[.]models[.]\\w+|src[.]ops[.]\\w+"
)
MODULE = re.compile(rf"keras([.]({PARTS}))?")
CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
# Arguments of newer releases, with their defaults; older ones refuse a file that names them.
NEW_DEFAULTS = {
    "quantization_config": None,
    "input_axes": None,
    "output_axes": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}
ENTRY_DATE = (1980, 1, 1, 0, 0, 0)
SHARED_ID = re.compile(r'(?<="shared_object_id": )\d+')


def save_model(model: keras.Model, path: Path) -> None:
    """Write the model so that equal models give equal bytes.

    Keras writes the time into the container and memory addresses into the configuration
    (`shared_object_id`); this replaces both. The file loads with keras.models.load_model, also of
    older releases: arguments that they do not know are left out if they have their default.
    """
    with replacing(path) as final:
        draft = final.with_name(f"keras-{path.name}")
        model.save(draft)
        with zipfile.ZipFile(draft) as source, zipfile.ZipFile(final, "w") as target:
            for name in sorted(source.namelist()):
                content = _timeless(name, source.read(name))
                target.writestr(zipfile.ZipInfo(name, ENTRY_DATE), content)


def load_model(path: Path, size: int | None = None, shown: str = "") -> keras.Model:
    """Return the model in a .keras file that `save_model` wrote; no code in the file runs.

    `size` are the pixels a side of the images that it is for, None for any; `shown` names the file
    in messages. Raises MalariaError for a file that is missing, damaged or not such a model.
    """
    name = shown or str(path)
    try:
        _refuse_code(path)
        with warnings.catch_warnings():
            # Keras only warns of a layer that is not in the file, and leaves its weights random.
            warnings.simplefilter("error", UserWarning)
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        image = _image_of(model)
        logit = model.get_layer(LOGIT).output.shape
    except Exception as error:  # Keras raises whatever its readers do
        reason = " ".join(str(error).split())[:200]
        raise MalariaError(
            f"{name} cannot be loaded as a Keras model of this project ({reason}); restore it with "
            "`uv run dvc checkout`, or make it with `uv run dvc repro`, in its folder."
        ) from None
    if tuple(logit) != (None, 1):
        raise MalariaError(
            f"{name} gives {logit} in its layer {LOGIT!r}, not one number for each image; use a "
            "model that stage `train` saved."
        )
    if size is not None and image != size:
        raise MalariaError(
            f"{name} takes images of {image} x {image} x 3, but these have {size} x {size} x 3; "
            "train it on images of preprocess.size."
        )
    return model


def logit_model(model: keras.Model) -> keras.Model:
    """Return the model up to its logit, with the same layers: what is trained and evaluated."""
    return keras.Model(model.input, model.get_layer(LOGIT).output, name=model.name)


def split_at(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Return the model's body up to `layer` and its head from there to the logit."""
    features = model.get_layer(layer).output
    body = keras.Model(model.input, features, name=f"{model.name}_body")
    head = keras.Model(features, model.get_layer(LOGIT).output, name=f"{model.name}_head")
    return body, head


def _timeless(name: str, content: bytes) -> bytes:
    if name == "metadata.json":
        metadata = json.loads(content)
        del metadata["date_saved"]
        return json.dumps(metadata, sort_keys=True).encode()
    if name == CONFIG:
        config = json.loads(content)
        for node in _nodes(config):
            for key, default in NEW_DEFAULTS.items():
                if key in node and node[key] == default:
                    del node[key]
        numbers: dict[str, str] = {}  # by memory address, in order of appearance
        return SHARED_ID.sub(
            lambda found: numbers.setdefault(found[0], str(len(numbers))), json.dumps(config)
        ).encode()
    return content


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Give every mapping in plain values, the outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _refuse_code(path: Path) -> None:
    """Raise ValueError if a file names anything but Keras' own layers, or one that holds code."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(CONFIG).file_size > MOST_CONFIG_BYTES:
            raise ValueError(f"its {CONFIG} has more than {MOST_CONFIG_BYTES} bytes")
        config = json.loads(archive.read(CONFIG))
    for node in _nodes(config):
        kind, module = node.get("class_name"), node.get("module")
        if kind in CODE or not (module is None or MODULE.fullmatch(str(module))):
            called = node.get("config")
            layer = called.get("name", "") if isinstance(called, dict) else ""
            raise ValueError(f"its layer {layer!r} is a {kind} of {module}, which may run code")


def _image_of(model: keras.Model) -> int:
    """Return the pixels a side of the images that a model takes; raises ValueError for others."""
    shape = model.input_shape
    if not (isinstance(shape, tuple) and len(shape) == 4 and shape[3] == 3):
        raise ValueError(f"its input is {shape}, not one RGB image")
    if shape[1] is None or shape[1] != shape[2]:
        raise ValueError(f"its input is {shape}, not a square image of one size")
    return int(shape[1])
