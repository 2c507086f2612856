"""Pre-trained weights, by name or found by their content."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from malaria.errors import MalariaError
from malaria.models.base.arrays import content_of, mirrored, read_arrays

IMAGENET = "imagenet"
NONE = "none"
VGG16 = "vgg16"
PINNED = "arrays:"
Weights = Path | str | None  # a file, 'imagenet', 'vgg16' or None
# What Keras downloads, with what is left to do once the file lies in a mirror.
DOWNLOADED = {
    VGG16: "",
    IMAGENET: " and set train.weights to what `uv run malaria pin <file>` prints",
}


def find_weights(weights: str) -> Weights:
    """Return what `build` takes for train.weights: a file, 'imagenet', 'vgg16' or None.

    A pinned content (see arrays.py) is looked up in the folder $MALARIA_MIRROR; raises
    MalariaError if no file there has it.
    """
    if not weights.startswith(PINNED):
        return None if weights == NONE else weights
    for path, arrays in mirrored():
        if content_of(arrays) == weights.removeprefix(PINNED):
            return path
    raise MalariaError(
        f"train.weights: no file in $MALARIA_MIRROR has the arrays {weights}; put the file into a "
        "folder and name that folder in MALARIA_MIRROR, set train.weights to imagenet, vgg16 or "
        "none, or run the demo, which needs no weights: `uv run dvc --cd demo repro`."
    )


def pin(path: Path) -> str:
    """Return the line of params.yaml that pins the content of a file of weights."""
    return f"weights: {PINNED}{content_of(read_arrays(path))}"


@contextmanager
def loading(weights: Weights, expected: str) -> Iterator[None]:
    """Turn an error while `weights` are loaded into a sentence with the remedy.

    `expected` says what a file must hold.
    """
    try:
        yield
    except Exception as error:
        if weights is None or isinstance(error, MalariaError):
            raise
        reason = " ".join(str(error).split())[:200]
        if weights in DOWNLOADED:
            then = DOWNLOADED[weights]
            raise MalariaError(
                f"train.weights: {weights} could not be downloaded ({reason}); without network, "
                f"put the file into a folder, name that folder in MALARIA_MIRROR{then}, or run the "
                "demo: `uv run dvc --cd demo repro`."
            ) from error
        raise MalariaError(
            f"train.weights: {weights} does not hold {expected} ({reason})."
        ) from error
