"""Runs as a pipeline's folder keeps them, made by hand."""

import json
from pathlib import Path
from typing import Any

from tests.conftest import REPO

METRICS = ["accuracy", "sensitivity", "specificity", "roc_auc", "mcc", "brier"]
LEAKY = {"unit: patient": "unit: cell"}
STUDY, PILOT = ".", "pilot"
JAX = {"backend": "jax", "device": "gpu"}
CHANGED = "What each run changed in its published recipe:"


def write_run(folder: Path, reports: Path, auc: float, **changes: Any) -> None:
    """Write a run of cnn_se on the pilot; `changes` are those to its published recipe.

    Of them `params` are replacements in params.yaml, `trained` other values of train.json.
    """
    text = (REPO / "pilot/params.yaml").read_text()
    edits = {"model: vgg19_finetuned": "model: cnn_se", **changes.pop("params", {})}
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    (reports / "tables").mkdir(parents=True)
    (folder / "params.yaml").write_text(text)
    values = dict.fromkeys(METRICS, 0.5) | {"n_cells": 1234, "n_patients": 9, "roc_auc": auc}
    (reports / "metrics.json").write_text(json.dumps({"val": values, "test": values}))
    (reports / "tables/intervals.csv").write_text(
        "split,metric,low,high\nval,accuracy,0.45,0.5512\ntest,accuracy,,\ntest,mcc,0.4,0.6\n"
        "test,sensitivity,0.3,0.7\n"
    )
    published = {"batch_size": 100, "epochs": 50, "augment.zoom_range": [1.0, 1.0]}
    more = changes.pop("trained", {})
    trained = {
        "weights": "none",
        "parameters": 271378,
        "size": 64,
        "precision": "float32",
        "device": "cpu",
        "backend": "tensorflow",
        "recipe": {"published_size": 64, **changes},
        "published": {key: published[key] for key in changes},
        "kept_epoch": 2,
    }
    (reports / "train.json").write_text(json.dumps(trained | more))
    (reports / "history.csv").write_text("epoch,loss\n1,1\n2,1\n3,1\n")


def keep(root: Path, folder: str, name: str, auc: float, **changes: Any) -> None:
    path = root / folder / "experiments" / name
    write_run(path, path, auc, **changes)
