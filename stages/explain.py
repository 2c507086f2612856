"""explain: where the evidence for calls of test cells lies, and whether that is what counts."""

import startup  # noqa: F401

import malaria.quiet_keras  # noqa: F401

import json
from pathlib import Path

import keras
import pandas as pd

from malaria import backend, explain, gradcam, occlusion
from malaria.cells import describe_data, open_images, read_cells
from malaria.metrics import read_predictions, write_table
from malaria.params.base import load
from malaria.params.explain import ExplainParams
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
MODEL = Path("models/model.keras")
PREDICTIONS = Path("reports/predictions.csv")
METRICS = Path("reports/metrics.json")
REPORT = Path("reports/explain")


def main(run: StageRun) -> None:
    params = load(ExplainParams)
    backend.make_deterministic()
    table = read_cells(CELLS)
    images = open_images(IMAGES, ORDER, table)
    model = keras.models.load_model(MODEL)
    threshold = json.loads(METRICS.read_text())["test"]["threshold"]
    cells = explain.called_cells(read_predictions(PREDICTIONS), table, threshold)
    title = f"{model.name}, {images.shape[1]} px, {describe_data(ORDER, table)}"
    REPORT.mkdir(parents=True, exist_ok=True)

    drawn = {kind: explain.choose(cells, kind, params.cells) for kind in explain.KINDS}
    legend = f"right: evidence for the call, most where yellow ({gradcam.describe_maps(model)})"
    for kind, chosen in drawn.items():
        heading = f"{title}, threshold {threshold:.3f}\ntest cells, {explain.KINDS[kind]}"
        picture = REPORT / f"{kind}.png"
        if kind == "top_losses":
            explain.draw_cells(images, chosen, None, picture, heading)
            picture = REPORT / f"{kind}_maps.png"
        maps = gradcam.heat_maps(model, images, chosen)
        explain.draw_cells(images, chosen, maps, picture, f"{heading}; {legend}")
    listed = pd.concat([chosen.assign(kind=kind) for kind, chosen in drawn.items()])
    write_table(listed[explain.LISTED], REPORT / "cells.csv")

    sample = explain.sample_calls(cells, params.occluded)
    maps = gradcam.heat_maps(model, images, sample)
    checks = occlusion.measure(model, images, sample, maps)
    write_table(checks, REPORT / "occlusion.csv")
    explain.draw_occlusion(checks, REPORT / "occlusion.png", f"{title}: {len(checks)} test cells")

    print(title)
    for called, summary in explain.summarise(checks).items():
        print(explain.describe(called, summary))


if __name__ == "__main__":
    run_stage("explain", main)
