"""The saved model: a .keras file whose bytes depend only on the model."""

import json
import os
import re
import zipfile
from pathlib import Path

import keras

LOGIT = "logit"  # the layer before the sigmoid, in every model
ENTRY_DATE = (1980, 1, 1, 0, 0, 0)
SHARED_ID = re.compile(r'(?<="shared_object_id": )\d+')


def save_model(model: keras.Model, path: Path) -> None:
    """Write the model so that equal models give equal bytes.

    Keras writes the time into the container and memory addresses into the configuration
    (`shared_object_id`); this replaces both. The file loads with keras.models.load_model.
    """
    draft = path.with_name(f"draft-{path.name}")
    final = path.with_name(f"whole-{path.name}")
    model.save(draft)
    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(final, "w") as target:
        for name in sorted(source.namelist()):
            target.writestr(zipfile.ZipInfo(name, ENTRY_DATE), _timeless(name, source.read(name)))
    os.replace(final, path)
    draft.unlink()


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
    if name == "config.json":
        numbers: dict[str, str] = {}  # by memory address, in order of appearance
        return SHARED_ID.sub(
            lambda found: numbers.setdefault(found[0], str(len(numbers))),
            json.dumps(json.loads(content)),
        ).encode()
    return content
