"""What a call of `malaria sync` has done."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from malaria.paths import PIPELINES, from_remote

NOT_CACHED = "not in DVC's cache"


@dataclass(frozen=True)
class Skipped:
    """An output that belongs to a run and could not be read."""

    path: str  # relative to the repository
    stage: str
    run_id: str
    reason: str


@dataclass
class Counts:
    """How many runs or rows were complete before, were made, and had something added."""

    complete: int = 0
    made: int = 0
    completed: int = 0

    @property
    def all(self) -> int:
        """How many there are now."""
        return self.complete + self.made + self.completed

    def count(self, is_new: bool, is_more: bool) -> None:
        """Count one."""
        if is_new:
            self.made += 1
        elif is_more:
            self.completed += 1
        else:
            self.complete += 1


@dataclass
class SyncResult:
    """What a call has done."""

    store: str
    runs: Counts = field(default_factory=Counts)
    rows: Counts = field(default_factory=Counts)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summary_of(result: SyncResult, root: Path) -> str:
    """Return what a call has done in the repository `root`, for the terminal."""
    if not (result.runs.all or result.rows.all):
        return "no folder has a dvc.lock there; nothing has run"
    lines = [
        f"{result.store}: {name} {counts.made} made, {counts.completed} completed, "
        f"{counts.complete} complete before"
        for name, counts in (("runs", result.runs), ("experiments", result.rows))
    ]
    skipped = Counter((one.path, one.reason) for one in result.skipped)
    lines += [
        f"  skipped: {path}, {reason}" + (f" ({count} runs)" if count > 1 else "")
        for (path, reason), count in skipped.items()
    ]
    missing = [one.path for one in result.skipped if one.reason == NOT_CACHED]
    for folder in sorted({_pipeline_of(path) for path in missing}):
        if command := from_remote(root, folder, "fetch"):
            lines.append(f"  if the remote has what is missing: `{command}`, then sync again")
    return "\n".join(lines)


def _pipeline_of(path: str) -> str:
    """Return the pipeline's folder that a path of the repository lies in."""
    top = path.split("/")[0]
    return top if top in PIPELINES else "."
