"""evaluate: every metric, table, curve and figure that follows from the predictions."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from malaria.core.files import write_file
from malaria.core.params import load
from malaria.core.table import EVALUATED, describe_data, read_cells
from malaria.evaluation.calibration import calibration_warnings, fit_temperature
from malaria.evaluation.curves import compute_curves
from malaria.evaluation.external import external_metrics, external_table, external_warnings
from malaria.evaluation.metrics import (
    choose_threshold,
    compute_metrics,
    write_headline,
    write_metrics,
)
from malaria.evaluation.pictures import draw_evaluation, draw_intervals, draw_learning_curves
from malaria.evaluation.tables import Settings, assess, warnings_of
from malaria.paths import (
    CELLS,
    CONTROLS,
    EVALUATION,
    EXTERNAL,
    FIGURES,
    HEADLINE,
    HISTORY,
    INTERVALS,
    LEARNING_CURVES,
    METRICS,
    ORDER,
    PLOTS,
    PREDICTIONS,
    TABLES,
    TRAINED,
)
from malaria.prediction.external import read_external
from malaria.prediction.params import EvaluateParams
from malaria.prediction.table import arrays_of, as_text, read_predictions, write_table

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun

OF_CELLS = ["cell_id", "photo", "width", "height"]


def main(run: "StageRun") -> None:
    params = load(EvaluateParams)
    table = read_cells(Path(CELLS))
    predictions = read_predictions(Path(PREDICTIONS))
    splits = {name: predictions[predictions["split"] == name] for name in EVALUATED}
    label, logit, probability = arrays_of(splits["val"])
    threshold = choose_threshold(label, probability, params.threshold)
    temperature = fit_temperature(label, logit)
    metrics = {name: compute_metrics(split, threshold) for name, split in splits.items()}
    external = read_external(Path(EXTERNAL))
    outside = external_metrics(external, threshold)
    write_metrics(metrics, outside, Path(METRICS))
    write_headline(metrics, Path(HEADLINE))

    controls = read_predictions(Path(CONTROLS))
    settings = Settings(threshold, temperature, params.threshold, params.replicates, params.seed)
    assessed = assess(
        {name: split.merge(table[OF_CELLS], on="cell_id") for name, split in splits.items()},
        {name: controls[controls["split"] == name] for name in EVALUATED},
        settings,
    )
    assessed["external"] = external_table(external, settings)
    for folder in (TABLES, PLOTS, FIGURES):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for name, assessment in assessed.items():
        write_table(assessment, Path(TABLES, f"{name}.csv"))

    curves = {name: compute_curves(split, threshold, temperature) for name, split in splits.items()}
    for split, tables in curves.items():
        for name, curve in tables.items():
            text = curve.to_csv(index=False, lineterminator="\n")
            write_file(Path(PLOTS, f"{name}_{split}.csv"), text)
    trained = json.loads(Path(TRAINED).read_text())
    title = f"{trained['model']}, {trained['size']} px, {describe_data(Path(ORDER), table)}"
    draw_evaluation(curves, threshold, Path(EVALUATION), title)
    draw_intervals(assessed["intervals"], assessed["groups"], Path(INTERVALS), title)
    history = pd.read_csv(HISTORY)
    draw_learning_curves(history, trained["kept_epoch"], Path(LEARNING_CURVES), title)

    print(title)
    for warning in [
        *warnings_of(assessed["controls"]),
        *calibration_warnings(assessed["calibration"]),
        *external_warnings(external, table),
    ]:
        print(f"evaluate: warning: {warning}")
    metrics |= {f"external.{name}": values for name, values in outside.items()}
    columns = {name: pd.Series(values, dtype=object) for name, values in metrics.items()}
    print(as_text(pd.DataFrame(columns), index=True))
