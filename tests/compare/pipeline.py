"""A repository with a pipeline's results at several commits, made by hand."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from malaria.core.yaml_files import dump_yaml, read_yaml
from malaria.paths import HISTORY, LOCK, METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.stages import md5_of
from tests.conftest import REPO
from tests.gate.test_judge import cells, files
from tests.git_repo import git

FOLDER = "pilot"
CODE = "malaria/training"


class Pipeline:
    """The folder `pilot` of a Git repository."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER
        git(root, "init", "-q", "-b", "main")
        (root / "malaria/training").mkdir(parents=True)
        (self.folder / "reports").mkdir(parents=True)
        (self.folder / "dvc.yaml").write_text("stages: {}\n")
        self.params: dict[str, Any] = json.loads(json.dumps(read_yaml(REPO / "pilot/params.yaml")))
        self.params["evaluate"]["replicates"] = 200

    def write(
        self,
        frame: pd.DataFrame,
        threshold: float = 0.5,
        *,
        epochs: int = 2,
        code: str = "",
        images: dict[str, str] | None = None,
    ) -> None:
        """Leave what a run would; `images` has the md5 of other outputs by path."""
        found = files(frame, threshold)
        self.params["train"]["epochs"] = epochs
        (self.root / CODE / "fit.py").write_text(f"# {code}\n")
        rows = "".join(
            f"{epoch},{1 / epoch},0.5,{2 / epoch},0.4\n" for epoch in range(1, epochs + 1)
        )
        contents = {
            PREDICTIONS: found.predictions,
            METRICS: found.metrics,
            PARAMS: dump_yaml(self.params).encode(),
            HISTORY: f"epoch,loss,accuracy,val_loss,val_accuracy\n{rows}".encode(),
            LOCK: dump_yaml(self._lock(found.predictions, code, images or {})).encode(),
        }
        for path, content in contents.items():
            (self.folder / path).write_bytes(content)

    def commit(self, *options: Any, tag: str = "", **more: Any) -> None:
        """Write and commit, under a tag if one is given."""
        self.write(*options, **more)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "results <b>of</b> a run")
        if tag:
            git(self.root, "tag", tag)

    def _lock(self, predictions: bytes, code: str, images: dict[str, str]) -> dict[str, Any]:
        params = {"train.epochs": self.params["train"]["epochs"], "split.unit": "patient"}
        outs = {PREDICTIONS: md5_of(predictions), **images}
        stages = {
            "train": {
                "cmd": "train",
                "deps": [{"path": CODE, "hash": "md5", "md5": md5_of(code.encode()) + ".dir"}],
                "params": {PARAMS: params},
                "outs": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs.items()],
            },
            "evaluate": {
                "cmd": "evaluate",
                "deps": [{"path": PREDICTIONS, "hash": "md5", "md5": md5_of(predictions)}],
                "outs": [{"path": METRICS, "hash": "md5", "md5": "0" * 32}],
            },
            # Left over from an earlier run.
            "report": {
                "cmd": "report",
                "deps": [{"path": "malaria/report", "hash": "md5", "md5": code + ".dir"}],
                "params": {PARAMS: params | {"train.epochs": 99}},
                "outs": [{"path": "reports/report.html", "hash": "md5", "md5": "1" * 32}],
            },
        }
        return {"schema": "2.0", "stages": stages}


def two_models(root: Path) -> Pipeline:
    """Return a pipeline whose tags `before` and `after` are two models, the second worse."""
    made = Pipeline(root)
    made.commit(cells(), tag="before")
    made.commit(cells(loss=1.5, noise=0.3), 0.45, tag="after", epochs=3, code="new")
    return made
