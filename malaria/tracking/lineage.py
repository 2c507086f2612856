"""Which runs read or made a file."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run

from malaria.errors import MalariaError
from malaria.paths import LOCK, PIPELINES
from malaria.pipeline.stages import in_repo, locked_hashes, md5
from malaria.tracking.index import all_runs
from malaria.tracking.rows import SHORT
from malaria.tracking.store import (
    STAGE,
    about_deleted,
    answering,
    deleted_experiments,
    open_existing,
)
from malaria.tracking.write import DEP, DVC_EXPERIMENT, FOLDER, OUT, PARENT, REBUILT

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Use:
    """A run that read or made a file."""

    how: str  # made, read
    path: str  # of the file as it was then, from the repository's root
    stage: str
    folder: str
    run_id: str
    status: str
    started: str  # ISO 8601, UTC
    commit: str
    dvc_experiment: str | None
    row: str  # the run id of the experiment's row
    experiment: str  # the name of that row
    rebuilt: bool


def uses_of(root: Path, file: str) -> list[Use]:
    """Return the runs that read or made a file of this content, the oldest first.

    `file` is an MD5, or a path whose content is taken: of the work tree, or where it is not there
    the one that dvc.lock names. Raises MalariaError for anything else, without a store, and where
    nothing is found while a pipeline's experiment is deleted.
    """
    hash_ = find_hash(root, file)
    with answering(root):
        client = open_existing(root)
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = list(all_runs(client, experiments, f"tags.`{STAGE}` LIKE '%'"))
        deleted = deleted_experiments(client, root)
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = [use for run in runs for use in _uses(run, hash_, names)]
    if deleted and not found:
        raise MalariaError(f"{about_deleted(deleted[0])}; no run of another one knows {file}.")
    return found


def show(uses: Sequence[Use]) -> str:
    """Return a table for people, a line a run."""
    head = ("", "stage", "started (UTC)", "status", "experiment", "commit", "run", "file")
    lines = [head]
    for use in uses:
        started = use.started.removesuffix("+00:00").replace("T", " ")
        status = f"{use.status}, rebuilt" if use.rebuilt else use.status
        commit = use.commit[:SHORT]
        lines.append(
            (use.how, use.stage, started, status, use.experiment, commit, use.run_id, use.path)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in line).rstrip() for line in padded
    )


def find_hash(root: Path, file: str) -> str:
    """Return the MD5 that a user means; raises MalariaError where there is no such file."""
    if MD5.fullmatch(file.lower()):
        return file.lower()
    path = Path(file)
    if path.is_file():
        return md5(path)
    wanted = in_repo(file, Path.cwd(), root)
    for folder in PIPELINES:
        for out, hash_ in locked_hashes(root / folder).items():
            if posixpath.normpath(posixpath.join(folder, out)) == wanted:
                return hash_
    raise MalariaError(
        f"{file} is neither a file here nor an output of a {LOCK} nor an MD5; give one of these."
    )


def _uses(run: Run, hash_: str, names: Mapping[str, str]) -> list[Use]:
    tags = run.data.tags
    row = tags.get(PARENT, "")
    return [
        Use(
            how=how,
            path=key.removeprefix(prefix),
            stage=tags[STAGE],
            folder=tags.get(FOLDER, ""),
            run_id=run.info.run_id,
            status=run.info.status,
            started=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(
                "T", "seconds"
            ),
            commit=tags.get("mlflow.source.git.commit", ""),
            dvc_experiment=tags.get(DVC_EXPERIMENT),
            row=row,
            experiment=names.get(row, ""),
            rebuilt=tags.get(REBUILT) == "true",
        )
        for how, prefix in (("made", OUT), ("read", DEP))
        for key, value in tags.items()
        if key.startswith(prefix) and value == hash_
    ]
