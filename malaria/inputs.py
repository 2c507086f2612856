"""What a training of a pipeline's folder would read, for commands beside the pipeline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.cells import open_images, read_cells
from malaria.errors import MalariaError
from malaria.params.augment import AugmentParams
from malaria.params.base import load
from malaria.params.train import TrainParams
from malaria.recipes import Recipe, resolve


@dataclass(frozen=True)
class Inputs:
    """Params, cells and their images of one folder."""

    params: TrainParams
    recipe: Recipe
    table: pd.DataFrame
    images: np.ndarray  # uint8 (N, S, S, 3), memory-mapped


def open_inputs(folder: Path) -> Inputs:
    """Return the inputs of the pipeline in `folder`.

    Raises MalariaError where its cells or images have not been made yet.
    """
    params = load(TrainParams, folder / "params.yaml")
    recipe = resolve(params, load(AugmentParams, folder / "params.yaml"))
    cells, images, order = (
        folder / "data" / name for name in ("cells.csv", "images.npy", "images.json")
    )
    for path in (cells, images, order):
        if not path.exists():
            pipeline = folder / "dvc.yaml"
            raise MalariaError(
                f"{path} is missing; make it with "
                f"`uv run dvc repro {pipeline}:split {pipeline}:preprocess`."
            )
    table = read_cells(cells)
    return Inputs(params, recipe, table, open_images(images, order, table))
