"""What surrounds every stage: its run in MLflow, and errors told in one sentence."""

import errno
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from malaria.checkpoint import Checkpoint
from malaria.cluster import PROCESS, Cluster, read_cluster
from malaria.entry import Entry, locked_by_hand, locked_outs
from malaria.errors import MalariaError
from malaria.params.study import REPO, flatten, load_study
from malaria.pipeline import (
    Parts,
    Stage,
    code_of,
    digest_of,
    in_repo,
    locked_hashes,
    md5,
    parts_now,
    read_stages,
    values_of,
)
from malaria.rows import describe, params_of, title
from malaria.states import is_dirty, open_files
from malaria.tracking import Context, StageRun

INTERRUPTED = 130
CHECKPOINTS = ".dvc/tmp/checkpoints"  # where Git and `dvc exp` do not look
HELPED = "train"  # the stage that several processes can run together
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def run_stage(name: str, main: Callable[[StageRun], None]) -> None:
    """Run `main` in the pipeline's folder as stage `name`, logged as a run of its own.

    A MalariaError is printed without traceback and exits with 1; any error closes the run
    as FAILED, an interrupt as KILLED. Of several processes that train together the first
    alone logs and leaves outputs.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cluster = read_cluster()
        _check_process(name, cluster)
        params = load_study()
        folder = Path.cwd()
        stage = read_stages(folder, params[REPO])[name]
        run = StageRun(_context(stage, folder, params), is_on=cluster.is_first)
    except MalariaError as error:
        sys.exit(f"{name}: {error}")
    try:
        main(run)
        if not cluster.is_first:
            return
        entry = run.context.entry
        locked = {**entry.locked, "outs": locked_outs(stage, folder)}
        run.finish(replace(entry, locked=locked), folder)
    except MalariaError as error:
        run.fail(str(error), traceback.format_exc())
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        run.fail("interrupted", traceback.format_exc(), status="KILLED")
        sys.exit(INTERRUPTED)
    except BaseException as error:
        run.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            sys.exit(f"{name}: the disk is full; free some space and run the same command again.")
        raise


def _check_process(name: str, cluster: Cluster) -> None:
    """Refuse a process that would leave outputs where it may only help the first one."""
    if not cluster.is_first and (name != HELPED or "DVC_STAGE" in os.environ):
        raise MalariaError(
            f"{PROCESS} is {cluster.process}, and only the first process runs the pipeline; start "
            f"this one with `uv run python` on stages/{HELPED}.py, in the folder of dvc.yaml."
        )


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _context(stage: Stage, folder: Path, params: Mapping[str, Any]) -> Context:
    checkout = (folder / params[REPO]).resolve()
    parts = parts_now(folder, dict(params))
    digest = digest_of(parts)
    in_folder = in_repo(".", folder, checkout)
    stages = read_stages(folder, params[REPO]).values()
    code = code_of(stage, stages)
    locked = locked_hashes(folder)
    deps = {
        dep: md5(folder / dep) if dep in code or dep not in locked else locked[dep]
        for dep in stage.deps
    }
    values = values_of(stage, params)
    # In a temporary checkout, DVC_ROOT still names the main repository.
    root = Path(os.environ.get("DVC_ROOT") or checkout)
    used = {
        "params": flatten(values),
        "code": {in_repo(dep, folder, checkout): deps[dep] for dep in code},
        "data": {in_repo(dep, folder, checkout): deps[dep] for dep in deps if dep not in code},
    }
    key = digest_of(used | {"versions": _versions()})
    experiment_name = os.environ.get("DVC_EXP_NAME")
    all_params = params_of(parts)
    commit = _git(folder, "rev-parse", "HEAD")
    return Context(
        entry=Entry(in_folder, stage.name, locked_by_hand(stage, values, deps, folder)),
        root=root,
        experiment=params["mlflow"]["experiment"],
        identity=digest,
        params=all_params,
        stage_params=used["params"],
        code=used["code"],
        data=used["data"],
        key=key,
        checkpoints=root / CHECKPOINTS,
        continues=Checkpoint(root / CHECKPOINTS, key).read_run_id(),
        commit=commit or "none",
        dirty=is_dirty(checkout),
        dvc_experiment=experiment_name,
        title=title(all_params, experiment_name, digest),
        describe=lambda: _describe(checkout, in_folder, parts, commit),
    )


def _describe(checkout: Path, folder: str, parts: Parts, commit: str) -> str:
    """Return what is new in the experiment since the commit; '' outside Git."""
    if not commit:
        return ""
    with open_files(checkout) as files:
        return describe(files, folder, parts, commit)


def _versions() -> dict[str, str]:
    """Return what computes: a training is only gone on with by the same."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    try:
        return {"backend": backend} | {name: version(name) for name in ("keras", "numpy", backend)}
    except PackageNotFoundError as error:
        raise MalariaError(
            f"KERAS_BACKEND is {backend!r}, but the package {error.name} is not installed; install "
            "it (for jax: `uv sync --extra jax`) or unset KERAS_BACKEND."
        ) from None


def _git(folder: Path, *arguments: str) -> str:
    """Return what git prints, or nothing outside a Git checkout."""
    result = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else ""
