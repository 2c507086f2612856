"""The commands of `malaria` that need Keras."""

import malaria.quiet_keras  # noqa: F401

from pathlib import Path

import numpy as np

from malaria import backend, models
from malaria.errors import MalariaError
from malaria.inputs import open_inputs
from malaria.lr_range import draw_curve, range_test, suggest, write_curve
from malaria.training import Cells
from malaria.weights import find_weights


def lr_range(folder: Path, lowest: float, highest: float, steps: int) -> str:
    """Run the learning-rate range test of the folder's params; return what was found."""
    if lowest >= highest:
        raise MalariaError(f"--lowest is {lowest:g}; it must be below --highest, {highest:g}.")
    inputs = open_inputs(folder)
    params = inputs.params
    backend.prepare(params.device, params.precision, params.seed)
    pretrained = models.ARCHITECTURES[params.model].pretrained
    model = models.build(
        params.model,
        inputs.images.shape[1],
        find_weights(params.weights) if pretrained else None,
    )
    split = inputs.table["split"]
    curve = range_test(
        model,
        Cells(
            inputs.images,
            inputs.table["label"].to_numpy(),
            train=np.flatnonzero(split == "train"),
            val=np.flatnonzero(split == "val"),
        ),
        inputs.recipe,
        lowest=lowest,
        highest=highest,
        steps=steps,
        seed=params.seed,
        workspace=folder / "data",
    )
    write_curve(curve, folder / "lr_range.csv")
    picture = folder / "lr_range.png"
    draw_curve(curve, picture, f"{params.model}, {inputs.recipe.optimizer}, {len(curve)} batches")
    return f"{picture}: suggests a learning rate of {suggest(curve):.1e}"
