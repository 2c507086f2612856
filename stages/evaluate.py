"""evaluate: predictions of val and test cells, and everything that follows from them."""

import startup  # noqa: F401

import malaria.quiet_keras  # noqa: F401

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from malaria.assessment import (
    Settings,
    assess,
    external_metrics,
    external_table,
    external_warnings,
    warnings_of,
)
from malaria.calibration import fit_temperature
from malaria.cells import describe_data, open_images, read_cells
from malaria.curves import compute_curves
from malaria.external import check_external, predict_external, read_external, write_external
from malaria.figures import draw_evaluation, draw_intervals, draw_learning_curves
from malaria.metrics import (
    choose_threshold,
    compute_metrics,
    defined,
    read_predictions,
    with_probabilities,
    write_metrics,
    write_predictions,
    write_table,
)
from malaria.params.base import load
from malaria.params.evaluate import EvaluateParams
from malaria.prediction import predictor
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
MODEL = Path("models/model.keras")
CONTROLS = Path("data/controls.csv")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
EXTERNAL = Path("reports/external.csv")
PLOTS = Path("reports/plots")
TABLES = Path("reports/tables")
HISTORY = Path("reports/history.csv")
SUMMARY = Path("reports/train.json")
EVALUATION = Path("reports/evaluation.png")
INTERVALS = Path("reports/intervals.png")
LEARNING = Path("reports/learning_curves.png")
EVALUATED = ("val", "test")
OF_CELLS = ["cell_id", "photo", "width", "height"]


def main(run: StageRun) -> None:
    params = load(EvaluateParams)
    check_external(params.external)
    table = read_cells(CELLS)
    images = open_images(IMAGES, ORDER, table)
    model = keras.models.load_model(MODEL)
    predict = predictor(model)

    rows = np.flatnonzero(table["split"].isin(EVALUATED))
    evaluated = table.iloc[rows].assign(logit=predict(images, rows))
    PLOTS.mkdir(parents=True, exist_ok=True)
    write_predictions(with_probabilities(evaluated), PREDICTIONS)
    sets = predict_external(params.external, images.shape[1], predict, IMAGES.parent)
    write_external(sets, EXTERNAL)

    predictions = read_predictions(PREDICTIONS)  # numbers follow from the file as written
    splits = {name: predictions[predictions["split"] == name] for name in EVALUATED}
    val = splits["val"]
    threshold = choose_threshold(
        val["label"].to_numpy(), val["probability"].to_numpy(), params.threshold
    )
    temperature = fit_temperature(val["label"].to_numpy(), val["logit"].to_numpy())
    metrics = {name: compute_metrics(split, threshold) for name, split in splits.items()}
    external = read_external(EXTERNAL)
    outside = external_metrics(external, threshold)
    write_metrics(metrics, outside, METRICS)

    controls = read_predictions(CONTROLS)
    settings = Settings(threshold, temperature, params.threshold, params.replicates, params.seed)
    assessed = assess(
        {name: split.merge(table[OF_CELLS], on="cell_id") for name, split in splits.items()},
        {name: controls[controls["split"] == name] for name in EVALUATED},
        settings,
    )
    assessed["external"] = external_table(external, settings)
    TABLES.mkdir(exist_ok=True)
    for name, assessment in assessed.items():
        write_table(assessment, TABLES / f"{name}.csv")

    curves = {name: compute_curves(split, threshold, temperature) for name, split in splits.items()}
    for split, tables in curves.items():
        for name, curve in tables.items():
            curve.to_csv(PLOTS / f"{name}_{split}.csv", index=False, lineterminator="\n")
    title = f"{model.name}, {images.shape[1]} px, {describe_data(ORDER, table)}"
    draw_evaluation(curves, threshold, EVALUATION, title)
    draw_intervals(assessed["intervals"], assessed["groups"], INTERVALS, title)
    kept = json.loads(SUMMARY.read_text())["kept_epoch"]
    draw_learning_curves(pd.read_csv(HISTORY), kept, LEARNING, title)

    print(title)
    for warning in [*warnings_of(assessed["controls"]), *external_warnings(external, table)]:
        print(f"evaluate: warning: {warning}")
    metrics |= {f"external.{name}": values for name, values in outside.items()}
    for place, values in metrics.items():
        known = defined(values).items()
        print(f"{place}: " + "  ".join(f"{name} {value:g}" for name, value in known))


if __name__ == "__main__":
    run_stage("evaluate", main)
