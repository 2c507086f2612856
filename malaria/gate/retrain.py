"""Whether a revision's training code gives the committed history, by training its first epochs.

This runs the revision's own code, so it belongs where there are no secrets.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.errors import MalariaError
from malaria.gate.committed import read_regular
from malaria.gate.locked import inputs_of, locked_entry
from malaria.gate.predictions import SHORT, shown_error
from malaria.gate.tree import checkout_of
from malaria.gate.verify import NAMED, Check
from malaria.paths import CELLS, HISTORY, IMAGES, ORDER
from malaria.pipeline.facts import CHECKPOINTS
from malaria.training.checkpoint import HISTORY as EPOCHS
from malaria.training.checkpoint import Checkpoint

STAGE = "train"
LAST_DIGIT = 1e-6  # of the file; learning rates have 6 significant digits
RATE_DIGITS = 1e-5
CHECK_S, GRACE_S = 0.2, 60


def verify_history(root: Path, folder: str, commit: str, epochs: int, tolerance: float) -> Check:
    """Return the check of a folder's history at a commit; `epochs` are trained again.

    The training is that of the whole recipe, and is ended after these epochs. `tolerance` is added
    to the rounding of the file. Raises MalariaError for missing data, and if the training fails.
    """
    entry = locked_entry(root, folder, commit, STAGE)
    content = read_regular(root, commit, entry.place(HISTORY)) or b""
    try:
        written = pd.read_csv(io.BytesIO(content))
    except ValueError as error:
        return Check("nothing was trained", [f"{HISTORY}: {shown_error(error)}"])
    files = inputs_of(root, entry, (IMAGES, ORDER, CELLS))
    with checkout_of(root, commit) as tree:
        for path, file in files.items():
            copy = tree / folder / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)  # not a link, as foreign code could change the cache
        trained = _train(tree, folder, epochs, commit)
    return Check(
        f"{len(trained)} epochs trained again; the tolerance is {tolerance:g} beyond the last "
        f"digit of {HISTORY}",
        _differences(written, trained, epochs, tolerance),
    )


def _train(tree: Path, folder: str, epochs: int, commit: str) -> pd.DataFrame:
    """Return the first rows of the history that the code in a checkout gives."""
    kept = {key: value for key, value in os.environ.items() if key[:4] not in ("DVC_", "MLFL")}
    env = {"PYTHONPATH": str(tree), "MLFLOW_TRACKING_URI": f"sqlite:///{tree}/mlflow.db"}
    (tree / folder / HISTORY).unlink(missing_ok=True)
    with (tree / "training.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "stages", STAGE],
            cwd=tree / folder,
            env=kept | env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and _checkpoint(tree).epochs < epochs:
                time.sleep(CHECK_S)
            if process.poll() is None:
                process.terminate()  # it ends after a checkpoint
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        said = " ".join(log.read().split())
    if (tree / folder / HISTORY).is_file():
        return pd.read_csv(tree / folder / HISTORY).head(epochs)
    snapshot = _checkpoint(tree).read()
    if snapshot is None or len(snapshot.state[EPOCHS]) < epochs:
        raise MalariaError(
            f"the training code of {commit[:SHORT]} did not train {epochs} epochs "
            f"({said[-300:] or 'it said nothing'}); correct it."
        )
    return pd.DataFrame(snapshot.state[EPOCHS]).head(epochs)


def _checkpoint(tree: Path) -> Checkpoint:
    """Return the only checkpoint of a checkout, one without epochs if there is none yet."""
    found = next((tree / CHECKPOINTS).glob("*.npz"), tree / CHECKPOINTS / "none.npz")
    return Checkpoint(found.parent, found.stem)


def _differences(
    written: pd.DataFrame, trained: pd.DataFrame, epochs: int, tolerance: float
) -> list[str]:
    if set(written) != set(trained) or len(written.head(epochs)) != len(trained):
        return [
            f"{HISTORY} has {len(written)} epochs of {', '.join(map(str, written))}, the training "
            f"gives {', '.join(map(str, trained))}"
        ]
    found = []
    for name in trained:
        theirs = pd.to_numeric(written[name].head(epochs), errors="coerce")
        is_same = np.isclose(theirs, trained[name], RATE_DIGITS, LAST_DIGIT + tolerance)
        found += [
            f"{name} of epoch {row + 1} is {written[name][row]} in {HISTORY}, but "
            f"{trained[name][row]:.6g} trained again"
            for row in np.flatnonzero(~is_same)
        ]
    more = [f"and {len(found) - NAMED} more values differ"] if len(found) > NAMED else []
    return found[:NAMED] + more
