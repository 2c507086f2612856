"""What surrounds every stage: its run in MLflow, and errors printed as one sentence."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from malaria.errors import MalariaError
from malaria.params import load_study
from malaria.pipeline.facts import read_facts
from malaria.tracking.live import StageRun
from malaria.training.checkpoint import Checkpoint
from malaria.training.cluster import PROCESS, Cluster, read_cluster

INTERRUPTED = 130
HELPED = "train"  # the stage that several processes can run together
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def run_stage(name: str, main: Callable[[StageRun], None]) -> None:
    """Run `main` in the pipeline's folder as stage `name`, logged as a run of its own.

    A MalariaError is printed without traceback and exits with 1; any error closes the run
    as FAILED, an interrupt as KILLED. Of several processes that train together only the first
    logs and leaves outputs.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cluster = read_cluster()
        _check_process(name, cluster)
        params = load_study()
        facts = read_facts(Path(), name, params)
        resumed = Checkpoint(facts.checkpoints, facts.key).read_run_id()
        run = StageRun(facts, params["mlflow"]["experiment"], resumed, is_on=cluster.is_first)
    except MalariaError as error:
        sys.exit(f"{name}: {error}")
    try:
        main(run)
        if cluster.is_first:
            run.finish(Path())
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
    """Refuse a process that would leave outputs although it may only help the first one."""
    if not cluster.is_first and (name != HELPED or "DVC_STAGE" in os.environ):
        raise MalariaError(
            f"{PROCESS} is {cluster.process}, and only the first process runs the pipeline; start "
            f"this one with `uv run python stages {HELPED}`, in the folder of dvc.yaml."
        )


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
