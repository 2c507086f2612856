"""The state of a training on disk, from which an interrupted one resumes.

A checkpoint is one file, written under another name and then renamed, so whatever kills the
process leaves the last complete one. It is not one of DVC's outputs; its key stands for
everything that defines the training. It stays after the last epoch until DVC has committed the
stage, because a kill or a full disk in between must not cost the training.
"""

import errno
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from malaria.errors import MalariaError

STATE, COUNTS, FINISHED, HISTORY = "state", "arrays", "finished", "history"
# What the content of a file raises; an OSError is about the disk or the permission to read it.
DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)
KEPT_DAYS = 30
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
        counts = {name: len(arrays) for name, arrays in snapshot.arrays.items()}
        state = {"run_id": self.run_id, COUNTS: counts, **snapshot.state}
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

        One whose content is damaged is reported on stderr and deleted. Raises MalariaError for one
        that cannot be read, which may be sound.
        """
        try:
            with self.path.open("rb") as file:
                return _snapshot_in(file)
        except FileNotFoundError:
            return None
        except (*DAMAGED, OSError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            # The place of an entry that a damaged file gives may lie before its beginning.
            if not isinstance(error, DAMAGED) and getattr(error, "errno", None) != errno.EINVAL:
                raise MalariaError(
                    f"the checkpoint {self.path} cannot be read ({reason}); correct that (its "
                    "owner, say), or delete it and the training starts from the beginning."
                ) from None
            print(
                f"train: the checkpoint {self.path} is damaged ({reason}); "
                "it is deleted and the training starts from the beginning.",
                file=sys.stderr,
            )
            self.delete()
            return None

    def read_run_id(self) -> str:
        """Return the id of the MLflow run that has logged the training so far; '' if none has."""
        return str(self._read_state().get("run_id", ""))

    @property
    def is_finished(self) -> bool:
        """Whether it has the last epoch of its training."""
        return bool(self._read_state().get(FINISHED))

    @property
    def epochs(self) -> int:
        """The number of epochs that it has; 0 if there is none."""
        return len(self._read_state().get(HISTORY, ()))

    def delete(self) -> None:
        """Delete the checkpoint, if there is one."""
        self.path.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the folder, and delete what nobody has resumed for KEPT_DAYS, saying so.

        Raises MalariaError if the folder cannot be written, before an epoch is lost by it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise MalariaError(
                f"checkpoints cannot be written to {self.folder} ({error.strerror}); correct its "
                "owner or permissions, so that an interrupted training can resume."
            ) from None
        for path in [*self.folder.glob("*.npz"), *self.folder.glob("*.tmp")]:
            if path != self.path:
                _delete_if_old(path)

    def _read_state(self) -> dict[str, Any]:
        """Return the state; {} if there is none, or it is not readable."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return dict(json.loads(str(file[STATE])))
        except (*DAMAGED, OSError):
            return {}


def _snapshot_in(file: IO[bytes]) -> Snapshot:
    with np.load(file, allow_pickle=False) as entries:  # the zip's checksums reveal damage
        state = json.loads(str(entries[STATE]))
        counts = state.pop(COUNTS)
        arrays = {
            name: [entries[f"{name}/{number}"] for number in range(count)]
            for name, count in counts.items()
        }
        return Snapshot(arrays, state)


def _delete_if_old(path: Path) -> None:
    try:
        age = time.time() - path.stat().st_mtime
        if age > KEPT_DAYS * DAY_S:
            path.unlink()
            said = f"is deleted: no training resumed it for {age / DAY_S:.0f} days"
            print(f"train: the checkpoint {path} {said}.", file=sys.stderr)
    except FileNotFoundError:  # another training was faster
        return
    except OSError as error:
        print(f"train: {path} is old and cannot be deleted ({error.strerror}).", file=sys.stderr)
