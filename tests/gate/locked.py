"""A small pipeline whose locks are checked, and how a test changes it."""

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

PIPELINE = """\
stages:
  train:
    cmd: python stages train
    params: [train]
    deps: [stages/train.py, malaria/core, "malaria/systems/${train.model}.py"]
    outs: [models/model.keras]
  evaluate:
    cmd: python stages evaluate
    params: [evaluate]
    deps: [models/model.keras, stages/evaluate.py, malaria/core]
    outs:
      - reports/predictions.csv: {cache: false}
      - reports/external.csv: {cache: false}
      - reports/tables: {cache: false}
    metrics:
      - reports/metrics.json: {cache: false}
  report:
    cmd: python stages report
    params: [evaluate.threshold]
    deps: [reports/metrics.json, reports/tables, stages/report.py]
    outs:
      - reports/report.html: {cache: false}
"""
PARAMS = "train: {model: s, epochs: 6}\nevaluate: {threshold: youden}\n"
STAGES = ("train", "evaluate", "report")
CODE = [f"stages/{stage}.py" for stage in STAGES]
CODE += [f"malaria/{file}" for file in ("core/a.py", "core/b.j2", "systems/s.py", "systems/l.py")]
MODEL, METRICS = "models/model.keras", "reports/metrics.json"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True
    )


def keep_in_lock(folder: Path, *stages: str) -> None:
    """Leave only these stages in a lock."""
    lock = YAML(typ="safe").load(folder / "dvc.lock")
    lock["stages"] = {name: lock["stages"][name] for name in stages}
    YAML().dump(lock, folder / "dvc.lock")
