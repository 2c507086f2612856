"""Where the files of a pipeline lie, relative to its folder; dvc.yaml has the same paths."""

import subprocess
import sys
from pathlib import Path

PARAMS = "params.yaml"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"

ZIP = "data/raw/cell_images.zip"
CELLS = "data/cells.csv"
IMAGES = "data/images.npy"
ORDER = "data/images.json"
CONTROLS = "data/controls.csv"
MODEL = "models/model.keras"

REPORTS = "reports"
EXPLORE = "reports/explore"
HISTORY = "reports/history.csv"
TRAINED = "reports/train.json"
PREDICTIONS = "reports/predictions.csv"
EXTERNAL = "reports/external.csv"
METRICS = "reports/metrics.json"
HEADLINE = "reports/headline.json"
TABLES = "reports/tables"
PLOTS = "reports/plots"
FIGURES = "reports/figures"
LEARNING_CURVES = "reports/figures/learning_curves.png"
EVALUATION = "reports/figures/evaluation.png"
INTERVALS = "reports/figures/intervals.png"
EXPLAIN = "reports/explain"
OCCLUSION = "reports/explain/occlusion.csv"
PAGE = "reports/report.html"
CARD = "reports/model_card.md"

# What commands keep in the folder besides the pipeline's own files.
AUDIT = "audit"
COMPARE = "compare"
EXPERIMENTS = "experiments"
SERIES = "series"

PIPELINES = (".", "pilot", "demo")  # folders with a dvc.yaml, relative to the repository


def dvc(folder: str, command: str) -> str:
    """Return, for a message, the DVC command for the pipeline in a folder of the repository."""
    return f"uv run dvc {command}" if folder == "." else f"uv run dvc --cd {folder} {command}"


def from_remote(root: Path, folder: str, command: str) -> str:
    """Return, for a message, the DVC command that gets files from a remote; '' if none is set.

    `folder` is a pipeline's, relative to the repository `root`; `command` is a `pull` or a `fetch`.
    It takes a second, so ask only when something is missing.
    """
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "dvc", "config", "core.remote"],
        cwd=root / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return dvc(folder, command) if asked.stdout.strip() else ""


def cache_of(root: Path) -> Path | None:
    """Return the folder of DVC's cache as a repository's `root` uses it; None without DVC there."""
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "dvc", "cache", "dir"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return root / asked.stdout.strip() if asked.returncode == 0 else None
