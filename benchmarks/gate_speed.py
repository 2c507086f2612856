"""What a judgement costs on one core, against resampling the tables of cells with scikit-learn."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.special import expit
from sklearn.metrics import recall_score, roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.report import publish, spread, table, verdict
from benchmarks.sides import in_turn
from malaria.core.params import load
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.judge import judge
from malaria.gate.params import GateParams
from malaria.gate.predictions import Files
from malaria.prediction.table import DIGITS, PREDICTION_COLUMNS

SECTION = "gate_speed"
CLAIM_S, CLAIM_MB = 5, 1000
COMMIT = "0" * 40
MB = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # ru_maxrss is in bytes there, else in KiB


def main(
    cells: Annotated[int, typer.Option(help="test cells, synthetic")] = 8000,
    patients: Annotated[int, typer.Option(help="test patients")] = 60,
    replicates: Annotated[int, typer.Option(help="of the gate")] = 10_000,
    plain: Annotated[int, typer.Option(help="replicates of the plain way")] = 200,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 5,
    side: Annotated[str, typer.Option(help="gate or plain: run it here, print JSON")] = "",
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure seconds and peak memory of a judgement on two models, reading and slices included."""
    if side:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        base, head = (predictions(cells, patients, seed) for seed in (0, 1))
        count = replicates if side == "gate" else plain
        seconds = (judged if side == "gate" else resampled)(base, head, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
        print(json.dumps({"seconds": seconds, "replicates": count, "mb": peak}))
        return
    options = {"cells": cells, "patients": patients, "replicates": replicates, "plain": plain}
    found = in_turn(SECTION, ("gate", "plain"), rounds, options)
    each = {
        name: [1000 * one["seconds"] / one["replicates"] for one in results]
        for name, results in found.items()
    }
    rows = [
        [
            name,
            f"{results[0]['replicates']:,}",
            spread([one["seconds"] for one in results], 2),
            spread(each[name], 3),
            spread([one["mb"] for one in results]),
        ]
        for name, results in found.items()
    ]
    gate = found["gate"]
    publish(
        SECTION,
        "\n\n".join(
            [
                f"{cells:,} synthetic cells of {patients} patients, {rounds} rounds, one core.",
                table(
                    ["side", "replicates", "seconds", "milliseconds a replicate", "peak MB"], rows
                ),
                f"A replicate of the plain way takes "
                f"{np.median(each['plain']) / np.median(each['gate']):.0f} times as long. Seconds: "
                f"{verdict(float(np.median([one['seconds'] for one in gate])), CLAIM_S, False)}; "
                f"MB: {verdict(max(one['mb'] for one in gate), CLAIM_MB, False)}.",
            ]
        ),
        ["numpy", "pandas", "scikit-learn"],
        write,
    )


def predictions(cells: int, patients: int, seed: int) -> pd.DataFrame:
    """Return a model's predictions; cells, patients and labels are the same for every seed."""
    rng = np.random.default_rng(2018)
    patient = rng.integers(patients, size=cells)
    label = np.where(patient % 4 == 0, 0, rng.integers(2, size=cells))
    common = rng.normal(size=cells)
    logit = 5 * (label - 0.5) + common + np.random.default_rng(seed).normal(size=cells) / 2
    return pd.DataFrame(
        {
            "cell_id": [f"C{owner}_cell_{number}" for number, owner in enumerate(patient)],
            "patient": [f"C{owner}" for owner in patient],
            "split": "test",
            "label": label,
            "logit": logit.round(DIGITS),
            "probability": expit(logit).round(DIGITS),
        }
    )[PREDICTION_COLUMNS]


def judged(base: pd.DataFrame, head: pd.DataFrame, replicates: int) -> float:
    """Return the seconds of the gate, from the bytes of the files to the verdict."""
    params = load(GateParams, Path(__file__).resolve().parents[1] / "params.yaml").model_copy(
        update={"replicates": replicates}
    )
    theirs, ours = (
        Files(
            model.to_csv(index=False).encode(),
            json.dumps({"test": compute_metrics(model, 0.5)}).encode(),
        )
        for model in (base, head)
    )
    return timed(lambda: judge(ours, theirs, None, params, COMMIT))


def resampled(base: pd.DataFrame, head: pd.DataFrame, replicates: int) -> float:
    """Return the seconds of the plain way: tables of drawn patients, scikit-learn's metrics."""
    rng = np.random.default_rng(0)
    groups = [model.groupby("patient").indices for model in (base, head)]
    names = list(groups[0])

    def run() -> None:
        for _ in range(replicates):
            drawn = rng.choice(names, len(names))
            for model, rows in zip((base, head), groups, strict=True):
                chosen = model.iloc[np.concatenate([rows[name] for name in drawn])]
                called = chosen["probability"] >= 0.5
                recall_score(chosen["label"], called)
                recall_score(chosen["label"], called, pos_label=0)
                roc_auc_score(chosen["label"], chosen["probability"])

    return timed(run)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
