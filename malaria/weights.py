"""Pre-trained weights, found by their hash."""

from pathlib import Path

from malaria.errors import MalariaError
from malaria.mirror import find_in_mirror

IMAGENET = "imagenet"
NONE = "none"
PINNED = "sha256:"


def find_weights(weights: str) -> Path | str | None:
    """Return what keras.applications takes as weights: a file, 'imagenet' or None.

    `weights` is train.weights. A pinned hash is looked for in the folder $MALARIA_MIRROR;
    raises MalariaError where it is not there.
    """
    if not weights.startswith(PINNED):
        return None if weights == NONE else weights
    found = find_in_mirror(weights.removeprefix(PINNED))
    if found is None:
        raise MalariaError(
            f"train.weights: no file in $MALARIA_MIRROR has the hash {weights}; "
            "put the file into a folder and name that folder in MALARIA_MIRROR, set "
            "train.weights to imagenet or none, or run the demo, which needs no weights: "
            "`uv run dvc repro demo/dvc.yaml`."
        )
    return found
