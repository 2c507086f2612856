"""A small repository whose dvc.lock, cache and Git hold what a pipeline has left, made by hand."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from ruamel.yaml import YAML

from malaria.pipeline.stages import md5_at
from tests.git_repo import git

# By stage: params, deps made by others, outputs that DVC keeps, outputs that are in Git.
Stages = dict[str, tuple[list[str], list[str], list[str], list[str]]]
STAGES: Stages = {
    "split": (["split.seed"], [], ["data/cells.csv"], []),
    "side": (["side.knob"], ["data/cells.csv"], [], ["reports/side.txt"]),
    "train": (
        ["train.model", "train.epochs"],
        ["data/cells.csv"],
        ["models/model.keras"],
        ["reports/history.csv", "reports/train.json"],
    ),
    "evaluate": (
        [],
        ["models/model.keras"],
        ["reports/report.html"],
        ["reports/metrics.json", "reports/tables/groups.csv", "reports/evaluation.png"],
    ),
}
PARAMS: dict[str, dict[str, Any]] = {
    "split": {"seed": 1},
    "side": {"knob": 1e-5},
    "train": {"model": "basic_cnn", "epochs": 2},
    "mlflow": {"experiment": "small"},
}


class LockRepo:
    """A Git repository with the pipeline of `folder`; DVC finds a cache in it."""

    stages: ClassVar[Stages] = STAGES

    def __init__(self, root: Path, folder: str = "demo") -> None:
        self.root = root
        self.folder = root / folder
        self._at = 0
        git(root.parent, "init", "-q", "-b", "main", str(root))
        (root / ".dvc").mkdir()
        (root / ".dvc/config").touch()
        (root / ".gitignore").write_text("/mlflow.db*\n/mlartifacts/\n/.dvc/*\n!/.dvc/config\n")
        self.folder.mkdir(exist_ok=True)
        if folder != ".":
            (self.folder / "stages").symlink_to("../stages")  # as demo/malaria is one
        (self.folder / ".gitignore").write_text("/data/\n/models/\n/reports/report.html\n")
        for stage in self.stages:
            self.write_code(stage, f"# {stage}\n")
        stages = {
            name: {
                "cmd": f"python stages/{name}.py",
                "params": params,
                "deps": [*deps, f"stages/{name}.py"],
                "outs": [*cached, *({out: {"cache": False}} for out in tracked)],
            }
            for name, (params, deps, cached, tracked) in self.stages.items()
        }
        write_yaml(self.folder / "dvc.yaml", {"stages": stages})
        self.set_params()
        self.commit("base")

    def write_code(self, stage: str, text: str) -> None:
        path = self.root / "stages" / f"{stage}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def set_params(self, **changes: dict[str, Any]) -> None:
        """Write params.yaml, the defaults with changes by section."""
        values = {name: section | changes.get(name, {}) for name, section in PARAMS.items()}
        write_yaml(self.folder / "params.yaml", values)

    def run(self, *only: str) -> None:
        """Leave what a run of all stages (or of some) would; its numbers follow from params."""
        params = YAML(typ="safe").load(self.folder / "params.yaml")
        lock_file = self.folder / "dvc.lock"
        lock = YAML(typ="safe").load(lock_file) if lock_file.exists() else {"stages": {}}
        for name in only or self.stages:
            keys, deps, cached, tracked = self.stages[name]
            for out in [*cached, *tracked]:
                path = self.folder / out
                path.parent.mkdir(parents=True, exist_ok=True)
                self.write_output(path, params)
                if out in cached:
                    kept = self.cached(out)
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(path.read_bytes())
            values = {key: params[key.split(".")[0]][key.split(".")[1]] for key in keys}
            lock["stages"][name] = {
                "cmd": f"python stages/{name}.py",
                "deps": [self._locked(dep) for dep in [*deps, f"stages/{name}.py"]],
                **({"params": {"params.yaml": values}} if values else {}),
                "outs": [self._locked(out) for out in [*cached, *tracked]],
            }
        write_yaml(lock_file, {"schema": "2.0", **lock})

    def commit(self, message: str) -> str:
        """Commit everything, each commit a minute after the last."""
        self._at += 60
        git(self.root, "add", "-A")
        date = f"@{1_700_000_000 + self._at} +0000"
        git(self.root, "commit", "-q", "--allow-empty", "-m", message, date=date)
        return git(self.root, "rev-parse", "HEAD")

    def run_and_commit(self, **changes: dict[str, Any]) -> str:
        """Set params, run all stages, commit."""
        self.set_params(**changes)
        self.run()
        return self.commit(f"run {changes}")

    def cached(self, out: str) -> Path:
        """Return where the cache keeps an output that lies in the folder."""
        md5 = md5_of(self.folder / out)
        return self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def write_output(self, path: Path, params: dict[str, Any]) -> None:
        """Write an output, which follows from the params."""
        write_output(path, params)

    def _locked(self, path: str) -> dict[str, Any]:
        size = (self.folder / path).stat().st_size
        return {"path": path, "hash": "md5", "md5": md5_at(self.folder, path), "size": size}


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    YAML().dump(content, path)


def write_output(path: Path, params: dict[str, Any]) -> None:
    epochs, seed = params["train"]["epochs"], params["split"]["seed"]
    losses = [1 / (epoch + seed) for epoch in range(1, epochs + 1)]
    rows = [f"{epoch},{loss!r},{loss / 3!r}" for epoch, loss in enumerate(losses, start=1)]
    texts = {
        "cells.csv": "cell_id,label,patient,slide,photo,width,height,split\n"
        f"a,1,C1,s,p,9,9,train\nb,0,C2,s,p,{seed},9,test\n",
        "side.txt": f"{params['side']['knob']}\n",
        "history.csv": "\n".join(["epoch,loss,val_loss", *rows]) + "\n",
        "train.json": json.dumps(
            {"model": "basic_cnn", "recipe": {"range": [0.9, 1.1]}, "kept_epoch": epochs}
        ),
        "report.html": f"<p>{losses[-1]}</p>",
        "metrics.json": json.dumps({"test": {"accuracy": losses[-1], "roc_auc": None}}),
        "groups.csv": "group,patient,value\nall,007,0.5\n",
        "evaluation.png": f"a picture of {losses[-1]}",
    }
    if path.suffix == ".keras":
        config = {"config": {"layers": [{"config": {"batch_shape": [None, 8, 8, 3]}}]}}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo("config.json"), json.dumps(config))
            archive.writestr(zipfile.ZipInfo("weights"), f"{losses}")
    else:
        path.write_text(texts[path.name])
