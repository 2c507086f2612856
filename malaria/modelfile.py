"""The saved model: a .keras file whose bytes depend on the model alone."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

LOGIT = "logit"  # the layer before the sigmoid, in every model
ENTRY_DATE = (1980, 1, 1, 0, 0, 0)


def save_model(model: keras.Model, path: Path) -> None:
    """Write the model so that equal models give equal bytes.

    Keras writes the clock into the container and memory addresses into the configuration
    (`shared_object_id`); this rewrites both. The file loads with keras.models.load_model.
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
    """Return the model up to its logit, sharing all layers: what is trained and evaluated."""
    return keras.Model(model.input, model.get_layer(LOGIT).output, name=model.name)


def _timeless(name: str, content: bytes) -> bytes:
    if name == "metadata.json":
        metadata = json.loads(content)
        del metadata["date_saved"]
        return json.dumps(metadata, sort_keys=True).encode()
    if name == "config.json":
        return json.dumps(_renumbered(json.loads(content), {})).encode()
    return content


def _renumbered(node: Any, numbers: dict[int, int]) -> Any:
    """Return the configuration with shared_object_id counted in order of appearance."""
    if isinstance(node, dict):
        return {
            key: numbers.setdefault(value, len(numbers))
            if key == "shared_object_id"
            else _renumbered(value, numbers)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_renumbered(item, numbers) for item in node]
    return node
