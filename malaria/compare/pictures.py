"""Pictures of cells, and heat maps of the models, as far as their files are on this machine.

A file that is named by a lock counts only if it has the lock's MD5.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from malaria.compare.side import Side
from malaria.core.environment import check_backend
from malaria.core.table import open_images, read_cells
from malaria.paths import CELLS, IMAGES, MODEL, ORDER
from malaria.pipeline.cache import cache_folder, cached_path
from malaria.pipeline.stages import md5
from malaria.quiet_keras import held_back

Images = tuple[np.ndarray, pd.Index]  # uint8 (N, S, S, 3), and the cell of each


class Local:
    """The files of a pipeline's folder and of DVC's cache."""

    def __init__(self, root: Path, folder: str, scratch: Path) -> None:
        """Nothing is read yet; links to files of the cache come into `scratch`."""
        self._root, self._folder, self._scratch = root, root / folder, scratch

    def find(self, side: Side, path: str) -> Path | None:
        """Return a file with the content that a side's lock names, None if there is none."""
        wanted = side.outputs.get(path)
        if wanted is None:
            return None
        own = self._folder / path
        if own.is_file() and md5(own) == wanted:
            return own
        cached = cached_path(self._cache, wanted)
        if not cached.is_file() or md5(cached) != wanted:
            return None
        link = self._scratch / f"{wanted}{Path(path).suffix}"  # names in the cache have none
        if not link.is_symlink():
            link.symlink_to(cached)
        return link

    def images(self, sides: Sequence[Side], size: int | None = None) -> Images | None:
        """Return images and their cells, of `size` pixels if it is given; None if none are here.

        Those of the work tree come first, as their order says what they are, then those of the
        locks. Raises MalariaError for images that are damaged.
        """
        for found in self._sets(sides):
            if all(path is not None and path.is_file() for path in found):
                images, order, cells = (Path(str(path)) for path in found)
                table = read_cells(cells)
                array = open_images(images, order, table)
                if size in (None, array.shape[1]):
                    return array, pd.Index(table["cell_id"])
        return None

    def _sets(self, sides: Sequence[Side]) -> Iterator[list[Path | None]]:
        paths = (IMAGES, ORDER, CELLS)
        yield [self._folder / path for path in paths]
        for side in reversed(sides):
            yield [self.find(side, path) for path in paths]

    @cached_property
    def _cache(self) -> Path:
        return cache_folder(self._root)


@contextmanager
def local_files(root: Path, folder: str) -> Iterator[Local]:
    """Give the files of a pipeline's folder, relative to the repository, and of DVC's cache."""
    with TemporaryDirectory() as scratch:
        yield Local(root, folder, Path(scratch))


def map_cells(
    local: Local, sides: Sequence[Side], number: int, cells: pd.DataFrame
) -> list[np.ndarray] | str:
    """Return the pictures of `cells` under the heat maps of one side's model, uint8 (S, S, 3).

    `cells` has cell_id and called. If there are none, the result is a sentence that says why.
    """
    side = sides[number]
    whose = f"the model of {side.source.name}"
    if MODEL not in side.outputs:
        return f"No heat maps: {side.source.name} has no dvc.lock that names its model."
    path = local.find(side, MODEL)
    if path is None:
        return (
            f"No heat maps: {whose} (MD5 {side.outputs[MODEL]}) is not in DVC's cache; `uv run dvc "
            "fetch --all-commits` may get it from a remote."
        )
    check_backend()
    with held_back():  # here, because Keras takes seconds to import
        from malaria.explanation.gradcam import heat_maps
        from malaria.explanation.pictures import overlay
        from malaria.models.base.saved import load_model
    model = load_model(path, shown=f"{whose} ({MODEL})")
    found = local.images([*sides, side], model.input_shape[1])
    rows = found[1].get_indexer(cells["cell_id"]) if found else np.array([-1])
    if found is None or (rows < 0).any():
        size = model.input_shape[1]
        return f"No heat maps: the images of {size} px that {whose} takes are not here."
    images = found[0]
    maps = heat_maps(model, images, cells.assign(row=rows))
    return [overlay(images[row], heat) for row, heat in zip(rows, maps, strict=True)]
