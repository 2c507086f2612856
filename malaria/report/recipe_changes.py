"""What a run changed in the published recipe of its model."""

from typing import Any

from malaria.core.params import flatten

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


def shortened(value: object) -> str:
    """Return a value as text; a long one (a hash) is cut."""
    text = str(value)
    return f"{text[:SHORT]}…" if len(text) > LONGEST else text
