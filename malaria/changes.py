"""What a run changed in the recipe that its model was published with."""

import json
from dataclasses import asdict
from typing import Any

from malaria.params.study import flatten
from malaria.recipes import RECIPES

LONGEST = 60  # characters of a value that is shown in full
SHORT = 15


def changed_from_recipe(trained: dict[str, Any], epochs: int) -> list[str]:
    """Return what differs from the published recipe, and which of the `epochs` was kept.

    `trained` is the content of train.json.
    """
    published = flatten(json.loads(json.dumps(asdict(RECIPES[trained["model"]]))))  # no tuples
    changed = [
        f"{key.removeprefix('augment.')} {shortened(value)} ({shortened(published[key])})"
        for key, value in flatten(trained["recipe"]).items()
        if key not in ("published_size", "engine") and value != published[key]
    ]
    size = f"{trained['size']} px ({published['published_size']})"
    return [
        *([size] if trained["size"] != published["published_size"] else []),
        f"weights {shortened(trained['weights'])}",
        trained["precision"],
        *changed,
        f"epoch {trained['kept_epoch']} of {epochs} kept",
    ]


def shortened(value: object) -> str:
    """Return a value as text, a long one (a hash) cut."""
    text = str(value)
    return f"{text[:SHORT]}…" if len(text) > LONGEST else text
