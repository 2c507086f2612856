"""Pre-trained weights, by name or found by their hash."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from malaria.core.files import find_in_mirror
from malaria.errors import MalariaError

IMAGENET = "imagenet"
NONE = "none"
PINNED = "sha256:"
Weights = Path | str | None  # a file, 'imagenet' or None, as keras.applications takes it


def find_weights(weights: str) -> Weights:
    """Return what `build` takes for train.weights: a file, 'imagenet' or None.

    A pinned hash is looked up in the folder $MALARIA_MIRROR; raises MalariaError if no file
    there has it.
    """
    if not weights.startswith(PINNED):
        return None if weights == NONE else weights
    found = find_in_mirror(weights.removeprefix(PINNED))
    if found is None:
        raise MalariaError(
            f"train.weights: no file in $MALARIA_MIRROR has the hash {weights}; "
            "put the file into a folder and name that folder in MALARIA_MIRROR, set "
            "train.weights to imagenet or none, or run the demo, which needs no weights: "
            "`uv run dvc --cd demo repro`."
        )
    return found


@contextmanager
def loading(weights: Weights, expected: str) -> Iterator[None]:
    """Turn an error while `weights` are loaded into a sentence with the remedy.

    `expected` says what a file must hold.
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
                "`uv run dvc --cd demo repro`."
            ) from error
        raise MalariaError(
            f"train.weights: {weights} does not hold {expected} ({reason})."
        ) from error
