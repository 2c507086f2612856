"""Where a training stands, kept on disk so that a killed one goes on.

A checkpoint is one file, written under another name and then renamed, so whatever kills the
process leaves the last whole one. It lies outside DVC's outputs, under a key that stands for
everything that defines the training.
"""

import json
import os
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STATE = "state"
SUFFIX = ".npz"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
KEPT_DAYS = 7
DAY_S = 86_400


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: lists of arrays by name, and a state of plain values."""

    arrays: Mapping[str, Sequence[np.ndarray]]
    state: Mapping[str, Any]


class Checkpoint:
    """The checkpoint of one training."""

    def __init__(self, folder: Path, key: str, run_id: str = "", writes: bool = True) -> None:
        """`folder` holds the checkpoints of all trainings; it is made at the first write.

        `run_id` is the run in MLflow that logs the training. Of several processes that train
        together one alone `writes`.
        """
        self._folder = folder
        self.path = folder / f"{key}{SUFFIX}"
        self._run_id = run_id
        self._writes = writes

    def write(self, saved: Saved) -> None:
        """Put `saved` in place of what was there; an OSError leaves the last one as it was."""
        if not self._writes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        state = {"run_id": self._run_id, **saved.state}
        entries: dict[str, Any] = {STATE: np.array(json.dumps(state))} | {
            f"{name}/{number}": array
            for name, arrays in saved.arrays.items()
            for number, array in enumerate(arrays)
        }
        try:
            with draft.open("wb") as file:
                np.savez(file, **entries)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)

    def read(self) -> Saved | None:
        """Return the last checkpoint; None where there is none.

        A damaged one is reported on stderr, deleted and passed over.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path) as file:  # the zip's checksums tell damage
                arrays: dict[str, list[np.ndarray]] = {}
                for entry in file.files:
                    if entry != STATE:
                        arrays.setdefault(entry.split("/")[0], []).append(file[entry])
                return Saved(arrays, json.loads(str(file[STATE])))
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            print(
                f"train: the checkpoint {self.path} is damaged ({reason}); "
                "it is deleted and the training starts anew.",
                file=sys.stderr,
            )
            self.delete()
            return None

    def read_run_id(self) -> str:
        """Return the run in MLflow that logged the training so far; '' where there is none."""
        try:
            with np.load(self.path) as file:
                return str(json.loads(str(file[STATE]))["run_id"])
        except UNREADABLE:
            return ""

    def delete(self) -> None:
        """Delete the checkpoint: the training has ended."""
        self.path.unlink(missing_ok=True)

    def delete_old_ones(self) -> None:
        """Delete checkpoints of other trainings that nobody went on with for a week."""
        for path in self._folder.glob("*"):
            if path != self.path and path.stat().st_mtime < time.time() - KEPT_DAYS * DAY_S:
                path.unlink(missing_ok=True)
