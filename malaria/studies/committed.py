"""Whether committed experiments and result tables are what they were written as."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from malaria.paths import EXPERIMENTS, LOCK
from malaria.pipeline.stages import place
from malaria.studies.experiments import kept_faults
from malaria.studies.results import REMEDY, table_faults

FROM_GIT = "bring the files back from Git, or `uv run malaria collect` them again"


@dataclass(frozen=True)
class CommittedState:
    """The state of kept experiments or of a file with tables; a stale one has its faults."""

    path: str  # relative to the repository
    state: Literal["ok", "stale"]
    reasons: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.state}"


def check_experiments(root: Path, folders: Sequence[str]) -> Iterator[CommittedState]:
    """Give the state of the experiments that each pipeline's folder keeps with their locks."""
    for folder in folders:
        faults = tuple(kept_faults(root, folder))
        if faults or any((root / folder / EXPERIMENTS).glob(f"*/{LOCK}")):
            yield _state(place(folder, EXPERIMENTS), faults, FROM_GIT)


def check_tables(root: Path) -> Iterator[CommittedState]:
    """Give the state of the files with result tables."""
    for file, faults in table_faults(root).items():
        yield _state(file, tuple(faults), f"`{REMEDY}`")


def _state(path: str, faults: tuple[str, ...], remedy: str) -> CommittedState:
    return CommittedState(path, "stale" if faults else "ok", faults, remedy if faults else "")
