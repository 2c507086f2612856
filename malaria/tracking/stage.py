"""What surrounds every stage: its run in MLflow, and errors printed as one sentence."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from malaria.errors import MalariaError
from malaria.params import load_study
from malaria.paths import LOCK, MODEL
from malaria.pipeline.cache import cache_folder, cached_path
from malaria.pipeline.facts import StageFacts, key_of, read_facts
from malaria.pipeline.lock import read_entries
from malaria.tracking.live import StageRun
from malaria.training.checkpoint import Checkpoint
from malaria.training.cluster import PROCESS, Cluster, read_cluster

INTERRUPTED = 130
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
TRAIN = "train"  # the stage that has checkpoints, and that several processes can run together
FETCH = "fetch"  # which keeps half a download
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def run_stage(name: str, main: Callable[[StageRun], None]) -> None:
    """Run `main` in the pipeline's folder as stage `name`, logged as a run of its own.

    A MalariaError is printed without traceback and exits with 1; any error closes the run as
    FAILED. Ctrl-C and SIGTERM close it as KILLED and say what is kept. Of several processes that
    train together only the first logs and leaves outputs.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cluster = read_cluster()
        _check_process(name, cluster)
        params = load_study()
        facts = read_facts(Path(), name, params)
        if cluster.is_first:
            _delete_committed(facts)
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
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        if cluster.is_first:
            print(f"{name}: interrupted; {_kept(name, facts)}.", file=sys.stderr, flush=True)
        run.fail("interrupted", traceback.format_exc(), status="KILLED")
        sys.exit(INTERRUPTED)
    except BaseException as error:
        run.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            sys.exit(f"{name}: the disk is full; free some space and run the same command again.")
        if isinstance(error, OSError) and error.errno in FORBIDDEN and error.filename:
            sys.exit(
                f"{name}: {error.filename} cannot be read or written ({error.strerror}); correct "
                "its owner or permissions and run the same command again."
            )
        raise


def _kept(name: str, facts: StageFacts) -> str:
    """Return what an interrupted stage leaves, and how to continue."""
    epochs = Checkpoint(facts.checkpoints, facts.key).epochs if name == TRAIN else 0
    if epochs:
        return f"whole epochs that are kept: {epochs}; the same command resumes after them"
    if name == FETCH:
        return "what a download has so far is kept, and the same command resumes it"
    return "the same command runs this stage again, and those before it are kept"


def _delete_committed(facts: StageFacts) -> None:
    """Delete the checkpoint of the training that dvc.lock records, once DVC keeps its model.

    From then on only a forced run trains again, and that is asked for all of its epochs.
    """
    if not Path(LOCK).exists():
        return
    entry = read_entries(Path(LOCK).read_bytes(), facts.entry.folder, LOCK).get(TRAIN)
    if entry is None:
        return
    checkpoint = Checkpoint(facts.checkpoints, key_of(entry))
    models = [out.md5 for out in entry.outs if out.path == MODEL]
    is_asked = bool(models) and checkpoint.is_finished  # DVC takes a second to say where it is
    if is_asked and cached_path(cache_folder(Path()), models[0]).is_file():
        with suppress(OSError):  # it only takes space, and `malaria doctor` names it
            checkpoint.delete()


def _check_process(name: str, cluster: Cluster) -> None:
    """Refuse a process that would leave outputs although it may only help the first one."""
    if not cluster.is_first and (name != TRAIN or "DVC_STAGE" in os.environ):
        raise MalariaError(
            f"{PROCESS} is {cluster.process}, and only the first process runs the pipeline; start "
            f"this one with `uv run python stages {TRAIN}`, in the folder of dvc.yaml."
        )


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
