"""predict: the model's logit and probability for each val, test and external cell."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malaria.core.params import load
from malaria.core.table import EVALUATED, open_images, read_cells
from malaria.models.base.saved import load_model
from malaria.paths import CELLS, EXTERNAL, IMAGES, MODEL, ORDER, PREDICTIONS
from malaria.prediction.external import check_external, predict_external
from malaria.prediction.params import EvaluateParams
from malaria.prediction.predict import predictor
from malaria.prediction.same_cells import by_pixels
from malaria.prediction.table import with_probabilities, write_predictions, write_table

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    params = load(EvaluateParams)
    check_external(params.external)
    table = read_cells(Path(CELLS))
    images = open_images(Path(IMAGES), Path(ORDER), table)
    predict = predictor(load_model(Path(MODEL), images.shape[1]))
    rows = np.flatnonzero(table["split"].isin(EVALUATED))
    evaluated = table.iloc[rows].assign(logit=predict(images, rows))
    Path(PREDICTIONS).parent.mkdir(exist_ok=True)
    write_predictions(with_probabilities(evaluated), Path(PREDICTIONS))
    sets, warnings = predict_external(
        params.external,
        images.shape[1],
        predict,
        Path(IMAGES).parent,
        own=lambda: by_pixels(images, table["cell_id"]),
    )
    for warning in warnings:
        print(f"predict: warning: {warning}")
    write_table(sets, Path(EXTERNAL))
