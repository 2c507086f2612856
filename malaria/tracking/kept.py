"""Rows of what `experiments/` and `series/` of a pipeline's folder keep of runs without a lock.

The DVC experiments themselves are in no clone; their params and small results are in Git.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria import paths
from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.pipeline.git import try_git
from malaria.pipeline.identity import digest_of
from malaria.pipeline.lock import LockedFile
from malaria.pipeline.stages import md5, place
from malaria.tracking.content import KEPT_EPOCH, Point, RunContent, is_count, read_content
from malaria.tracking.index import FINISHED
from malaria.tracking.rows import title
from malaria.tracking.runs import Target, complete_row, create
from malaria.tracking.sync_result import Counts
from malaria.tracking.write import DVC_EXPERIMENT, FOLDER, KEPT, REBUILT, common_tags, row_tags

COPIES = (paths.METRICS, paths.TRAINED, paths.HISTORY)  # as `malaria collect` keeps them
NO_RUNS = ("mean", "sd")  # the last rows of a series
OTHERS = ("gate.", "mlflow.")  # params that no stage reads


@dataclass(frozen=True)
class KeptRun:
    """A run of which only params and small results are there."""

    name: str  # of the DVC experiment
    path: str  # of what keeps it, relative to the repository
    digest: str  # of what is kept
    params: Mapping[str, Any]
    content: RunContent  # all of it is for the row


def kept_runs(root: Path, folder: str) -> Iterator[KeptRun]:
    """Give what a pipeline's folder keeps, by name."""
    for path in sorted((root / folder / paths.EXPERIMENTS).glob(f"*/{paths.PARAMS}")):
        yield _experiment(path.parent, place(folder, f"{paths.EXPERIMENTS}/{path.parent.name}"))
    for path in sorted((root / folder / paths.SERIES).glob("*.csv")):
        yield from _series(path, place(folder, f"{paths.SERIES}/{path.name}"))


def complete_kept(
    root: Path, target: Target, folder: str, kept: Sequence[KeptRun], counts: Counts
) -> None:
    """Give each kept run its row, and count the rows.

    An experiment that has a row with stages, as on the machine that ran it, gets no second one.
    """
    known = {
        row.tags.get(DVC_EXPERIMENT)
        for row in target.index.rows()
        if row.tags.get(FOLDER) == folder and KEPT not in row.tags
    }
    for one in kept:
        if one.name not in known:
            counts.count(*_complete(root, target, folder, one))


def _complete(root: Path, target: Target, folder: str, kept: KeptRun) -> tuple[bool, bool]:
    """Return whether the row of a kept run is new, and whether it had something added."""
    identity = digest_of({"kept": kept.path, "name": kept.name, "content": kept.digest})
    row = target.index.row_of(identity)
    if row is not None and row.status == FINISHED:
        return False, False
    commit, time_ms = _origin(root, kept.path)
    note = f"Kept in `{kept.path}`, without the runs of its stages."
    tags = common_tags(identity, folder, commit, kept.name) | row_tags(note)
    tags |= {KEPT: kept.path, REBUILT: "true"}
    made = row or create(target, title(kept.params, kept.name, identity), time_ms, tags)
    complete_row(target, made, kept.params, kept.content, {}, None, made.start_ms)
    return row is None, True


def _experiment(folder: Path, path: str) -> KeptRun:
    params = {
        key: value
        for key, value in flatten(read_yaml(folder / paths.PARAMS)).items()
        if not key.startswith(OTHERS)
    }
    files = {copy: folder / Path(copy).name for copy in COPIES}
    outs = [
        LockedFile(copy, md5(file), file.stat().st_size)
        for copy, file in files.items()
        if file.is_file()
    ]
    found = read_content(outs, lambda out: files[out.path])
    points = [point for point in found.points if point.name != KEPT_EPOCH]  # train's, as live
    content = RunContent(counts=found.params, headline=points, on_row=found.files)
    digest = digest_of({out.path: out.md5 for out in outs})
    return KeptRun(folder.name, path, digest, params, content)


def _series(file: Path, path: str) -> Iterator[KeptRun]:
    for row in pd.read_csv(file).dropna(axis="columns", how="all").to_dict("records"):
        name = str(row.pop("experiment"))
        if name in NO_RUNS:
            continue
        values = {f"test.{key}": value for key, value in row.items() if pd.notna(value)}
        counts = {key: int(value) for key, value in values.items() if is_count(key)}
        points = [Point(key, value) for key, value in values.items() if key not in counts]
        content = RunContent(counts=counts, headline=points)
        yield KeptRun(name, path, digest_of(values), {}, content)


def _origin(root: Path, path: str) -> tuple[str, int]:
    """Return the commit that brought a path and its time; without one no commit and the file's."""
    logged = try_git(root, "log", "-1", "--format=%H %ct", "--", path).stdout.decode().split()
    if not logged:
        return "", int((root / path).stat().st_mtime * 1000)
    return logged[0], int(logged[1]) * 1000
