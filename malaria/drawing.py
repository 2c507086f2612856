"""How every picture is drawn: colours that colour-blind readers can tell apart, and the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from malaria.core.files import replacing

# The palette of Okabe and Ito.
SPLIT_COLOURS = {"train": "#999999", "val": "#E69F00", "test": "#0072B2"}
CLASS_COLOURS = {1: "#D55E00", 0: "#0072B2"}
METRIC_COLOURS = {"sensitivity": "#D55E00", "specificity": "#0072B2", "roc_auc": "#009E73"}


@contextmanager
def drawn(path: Path, title: str, size: tuple[float, float]) -> Iterator[Figure]:
    """Give a figure of `size` inches to draw into, then write it under its title as a PNG."""
    figure = Figure(figsize=size, layout="constrained")
    yield figure
    figure.suptitle(title)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG; the same figure gives the same bytes."""
    # Without the Software entry, whose version would change the bytes.
    with replacing(path) as draft:
        figure.savefig(draft, dpi=100, metadata={"Software": None})
