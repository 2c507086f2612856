"""Pre-trained weights, found by their hash."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from malaria.errors import MalariaError
from malaria.mirror import find_in_mirror

IMAGENET = "imagenet"
NONE = "none"
PINNED = "sha256:"
Weights = Path | str | None  # a file, 'imagenet' or None, as keras.applications takes it


def find_weights(weights: str) -> Weights:
    """Return what models take as weights: a file, 'imagenet' or None.

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


@contextmanager
def loading(weights: Weights, expected: str) -> Iterator[None]:
    """Turn what goes wrong while `weights` are loaded into a sentence with the remedy.

    `expected` says what a file has to hold.
    """
    try:
        yield
    except Exception as error:
        if weights is None:
            raise
        reason = " ".join(str(error).split())[:200]
        if weights == IMAGENET:
            raise MalariaError(
                f"train.weights: imagenet could not be downloaded ({reason}); without network, "
                "put the file into a folder, name that folder in MALARIA_MIRROR and set "
                "train.weights to sha256:<its hash>, or run the demo: "
                "`uv run dvc repro demo/dvc.yaml`."
            ) from error
        raise MalariaError(
            f"train.weights: {weights} does not hold {expected} ({reason})."
        ) from error
