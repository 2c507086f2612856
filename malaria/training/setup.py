"""All that a training in a pipeline's folder starts from: devices, model, recipe and cells."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from malaria.core.table import open_images, read_cells
from malaria.models.base.build import build
from malaria.models.base.recipe import Recipe
from malaria.models.base.system import find_system
from malaria.models.base.weights import NONE, find_weights
from malaria.paths import CELLS, IMAGES, ORDER
from malaria.training.backend import Runtime, prepare, refuse_difference
from malaria.training.params import TrainParams
from malaria.training.recipe import overridden
from malaria.training.train import Cells


@dataclass(frozen=True)
class Setup:
    """A model that is ready to train, and its cells."""

    params: TrainParams
    recipe: Recipe
    runtime: Runtime
    model: keras.Model
    cells: Cells

    @property
    def summary(self) -> dict[str, Any]:
        """The resolved values of params and machine, for train.json and MLflow."""
        return {
            "model": self.params.model,
            "weights": self.params.weights if self._is_pretrained else NONE,
            "parameters": self.model.count_params(),
            "size": self._size,
            "device": self.runtime.device,
            "backend": keras.backend.backend(),
            "precision": self.runtime.precision,
            "devices": self.runtime.share.devices,
            "recipe": asdict(self.recipe),
            "published": overridden(self.params.model, self.recipe),
        }

    def __str__(self) -> str:
        device, devices = self.runtime.device, self.runtime.share.devices
        where = f"{devices} x {device}" if devices > 1 else f"the {device}"
        size = f"{self.model.count_params():,} parameters"
        return f"{self.params.model}, {size}, {self.runtime.precision} on {where}"

    def warnings(self) -> Iterator[str]:
        """Yield what a user should know about values that work, but not as one may expect."""
        params, idle, device = self.params, self.runtime.idle, self.runtime.device
        if idle and params.distribution == "auto":
            yield (
                f"{device} devices left idle: {idle}; the {keras.backend.backend()} backend trains "
                "on one, with KERAS_BACKEND=jax all train"
            )
        if not self._is_pretrained and params.weights != NONE:
            yield f"{params.model} has no pre-trained body; train.weights is not used"
        if self._is_pretrained and params.weights == NONE and self.recipe.head_epochs:
            yield (
                f"the body starts at random, so {self.recipe.head_epochs} epochs of the head alone "
                "learn from random features; set train.head_epochs to 0"
            )
        if self._size != self.recipe.published_size:
            published = self.recipe.published_size
            yield f"images have {self._size} px; the recipe was published at {published} px"

    @property
    def _is_pretrained(self) -> bool:
        return find_system(self.params.model).pretrained

    @property
    def _size(self) -> int:
        return int(self.cells.array.shape[1])


def set_up(folder: Path, params: TrainParams, recipe: Recipe, key: str = "") -> Setup:
    """Return what a training of the pipeline in `folder` starts from.

    If several processes train together, each calls this, with the same `key`.
    Raises MalariaError for devices, weights and images that are not available or do not fit.
    """
    table = read_cells(folder / CELLS)
    images = open_images(folder / IMAGES, folder / ORDER, table)
    runtime = prepare(params.device, params.precision, params.seed, params.distribution)
    refuse_difference(
        key,
        "the processes have different params, code, data or package versions; let them run the "
        "same checkout.",
    )
    weights = find_weights(params.weights) if find_system(params.model).pretrained else None
    model = build(params.model, images.shape[1], weights)
    train, val = (np.flatnonzero(table["split"] == split) for split in ("train", "val"))
    cells = Cells(images, table["label"].to_numpy(), train, val)
    return Setup(params, recipe, runtime, model, cells)
