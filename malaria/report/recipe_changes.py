"""The recipe that a run was trained with, and what it changed in the published one."""

import json
from dataclasses import asdict
from typing import Any

from malaria.core.params import flatten
from malaria.models.base.recipe import Augmentation

LONGEST = 60  # characters of a value that is shown whole
SHORT = 15


def changed_from_recipe(trained: dict[str, Any], epochs: int) -> list[str]:
    """Return what differs from the published recipe, and which of the `epochs` was kept.

    `trained` is the content of train.json.
    """
    used, published_size = flatten(trained["recipe"]), trained["recipe"]["published_size"]
    changed = [
        f"{key.removeprefix('augment.')} {shortened(used[key])} ({shortened(value)})"
        for key, value in trained["published"].items()
        if key != "engine"
    ]
    size = f"{trained['size']} px ({published_size})"
    return [
        *([size] if trained["size"] != published_size else []),
        f"weights {shortened(trained['weights'])}",
        trained["precision"],
        *changed,
        f"epoch {trained['kept_epoch']} of {epochs} kept",
    ]


def recipe_rows(trained: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return each value that a training used with the published one, which is '' if it is the same.

    What is off is left out, unless it was published as on. `trained` is the content of train.json.
    """
    used, published = flatten(trained["recipe"]), trained["published"]
    off = json.loads(json.dumps(flatten({"augment": asdict(Augmentation())})))  # ranges as lists
    rows = {
        key: (str(value), str(published.get(key, "")))
        for key, value in used.items()
        if key in published or value not in (None, off.get(key))
        if key not in ("published_size", "engine")  # no part of what is computed
    }
    is_augmented = any(key.startswith("augment.") for key in rows)
    return rows if is_augmented else rows | {"augment": ("none", "")}


def shortened(value: object) -> str:
    """Return a value as text; a long one (a hash) is cut."""
    text = str(value)
    return f"{text[:SHORT]}…" if len(text) > LONGEST else text
