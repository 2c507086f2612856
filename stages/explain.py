"""explain: heat maps of test cells, and an occlusion check of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from malaria.core.params import load
from malaria.core.table import describe_data, open_images, read_cells
from malaria.explanation import cells as chosen_cells
from malaria.explanation import gradcam, occlusion
from malaria.explanation.params import ExplainParams
from malaria.explanation.pictures import draw_cells, draw_occlusion
from malaria.explanation.summary import describe, summarise
from malaria.models.base.saved import load_model
from malaria.paths import CELLS, EXPLAIN, IMAGES, METRICS, MODEL, ORDER, PREDICTIONS
from malaria.prediction.table import read_predictions, write_table
from malaria.training.backend import make_deterministic

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    params = load(ExplainParams)
    make_deterministic()
    table = read_cells(Path(CELLS))
    images = open_images(Path(IMAGES), Path(ORDER), table)
    model = load_model(Path(MODEL), images.shape[1])
    threshold = json.loads(Path(METRICS).read_text())["test"]["threshold"]
    cells = chosen_cells.called_cells(read_predictions(Path(PREDICTIONS)), table, threshold)
    title = f"{model.name}, {images.shape[1]} px, {describe_data(Path(ORDER), table)}"
    folder = Path(EXPLAIN)
    folder.mkdir(parents=True, exist_ok=True)

    drawn = {kind: chosen_cells.choose(cells, kind, params.cells) for kind in chosen_cells.KINDS}
    legend = f"right: evidence for the call, most where yellow ({gradcam.describe_maps(model)})"
    for kind, chosen in drawn.items():
        heading = f"{title}, threshold {threshold:.3f}\ntest cells, {chosen_cells.KINDS[kind]}"
        picture = folder / f"{kind}.png"
        if kind == "top_losses":
            draw_cells(images, chosen, None, picture, heading)
            picture = folder / f"{kind}_maps.png"
        maps = gradcam.heat_maps(model, images, chosen)
        draw_cells(images, chosen, maps, picture, f"{heading}; {legend}")
    listed = pd.concat([chosen.assign(kind=kind) for kind, chosen in drawn.items()])
    write_table(listed[chosen_cells.LISTED], folder / "cells.csv")

    sample = chosen_cells.sample_calls(cells, params.occluded)
    maps = gradcam.heat_maps(model, images, sample)
    checks = occlusion.measure(model, images, sample, maps)
    write_table(checks, folder / "occlusion.csv")
    draw_occlusion(checks, folder / "occlusion.png", f"{title}: {len(checks)} test cells")

    print(title)
    for called, summary in summarise(checks).items():
        print(describe(called, summary))
