"""The state of a training on disk, from which an interrupted one resumes.

A checkpoint is one file, written under another name and then renamed, so whatever kills the
process leaves the last complete one. It is not one of DVC's outputs; its key stands for
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
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
KEPT_DAYS = 7
DAY_S = 86_400


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: lists of arrays by name, and a state of plain values."""

    arrays: Mapping[str, Sequence[np.ndarray]]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training."""

    folder: Path  # of all trainings' checkpoints; the first write makes it
    key: str
    run_id: str = ""  # of the MLflow run that logs the training
    writes: bool = True  # of several processes that train together, only one does

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / f"{self.key}.npz"

    def write(self, snapshot: Snapshot) -> None:
        """Replace the last snapshot; an OSError leaves it as it was."""
        if not self.writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        state = {"run_id": self.run_id, **snapshot.state}
        entries: dict[str, Any] = {STATE: np.array(json.dumps(state))} | {
            f"{name}/{number}": array
            for name, arrays in snapshot.arrays.items()
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

    def read(self) -> Snapshot | None:
        """Return the last snapshot, or None if there is none.

        A damaged one is reported on stderr and deleted.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path) as file:  # the zip's checksums reveal damage
                arrays: dict[str, list[np.ndarray]] = {}
                for entry in file.files:
                    if entry != STATE:
                        arrays.setdefault(entry.split("/")[0], []).append(file[entry])
                return Snapshot(arrays, json.loads(str(file[STATE])))
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            print(
                f"train: the checkpoint {self.path} is damaged ({reason}); "
                "it is deleted and the training starts from the beginning.",
                file=sys.stderr,
            )
            self.delete()
            return None

    def read_run_id(self) -> str:
        """Return the id of the MLflow run that has logged the training so far; '' if none has."""
        try:
            with np.load(self.path) as file:
                return str(json.loads(str(file[STATE]))["run_id"])
        except UNREADABLE:
            return ""

    def delete(self) -> None:
        """Delete the checkpoint, because the training has ended."""
        self.path.unlink(missing_ok=True)

    def delete_old_ones(self) -> None:
        """Delete other trainings' checkpoints that nobody has resumed for a week."""
        for path in self.folder.glob("*"):
            if path != self.path and path.stat().st_mtime < time.time() - KEPT_DAYS * DAY_S:
                path.unlink(missing_ok=True)
