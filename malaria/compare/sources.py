"""Finds what a person named: a revision, DVC experiment, kept folder, MLflow run or series."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from malaria.compare.side import Source
from malaria.errors import MalariaError
from malaria.paths import EXPERIMENTS, METRICS, PIPELINES
from malaria.pipeline.git import find_commit, find_file, run_git
from malaria.pipeline.stages import place
from malaria.studies.experiments import list_experiments
from malaria.tracking.address import sqlite_file, tracking_uri

WORKSPACE = "workspace"  # DVC's word for the work tree
REPEATED = r"-(?:fold|seed)\d+"  # how the runs of a series end
RUN_ID = re.compile(r"[0-9a-f]{32}")
REVISION = "Git revision"
SHORT = 8  # characters of a commit's id


def find_sources(root: Path, folder: str, names: Sequence[str]) -> list[Source]:
    """Return the sources that the names mean, in their order; a series gives one for each run.

    `folder` is the pipeline's, relative to the repository `root`. Raises MalariaError for a name
    of nothing, and unless two or more different ones are found.
    """
    experiments = list_experiments(root)
    found = [one for name in names for one in _find(root, folder, name, experiments)]
    if len({(one.name, one.kind) for one in found}) < max(len(found), 2):
        raise MalariaError(
            "compare needs two or more different models; name each once, or a series of "
            "`malaria repeat`."
        )
    return found


def folder_of(root: Path, names: Sequence[str]) -> str | None:
    """Return the pipeline in whose `experiments/` the first named folder lies, if one does."""
    for name in names:
        path = _kept(root, name)
        if path is not None:
            folder = path.parents[1].relative_to(root).as_posix()
            return folder if folder in PIPELINES else None
    return None


def _find(root: Path, folder: str, name: str, experiments: Mapping[str, str]) -> list[Source]:
    if name == WORKSPACE:
        return [_workspace(root, folder)]
    kept = _kept(root, name)
    if kept is not None:
        return [_kept_source(kept)]
    if name in experiments:
        return [_committed(root, folder, name, experiments[name], "DVC experiment")]
    commit = find_commit(root, name)
    if commit is not None:
        return [_committed(root, folder, name, commit, REVISION)]
    kept = _kept(root, place(folder, f"{EXPERIMENTS}/{name}"))
    if kept is not None:
        return [_kept_source(kept)]
    if RUN_ID.fullmatch(name) and has_store(root):
        from malaria.tracking.compared import find_run  # here, as MLflow takes seconds to import

        run = find_run(root, name)
        if run is not None:
            return [
                Source(
                    run.name,
                    "MLflow run",
                    run.run_id,
                    run.files.get,
                    params=run.params,
                    run_id=run.run_id,
                    has_predictions=False,
                )
            ]
    runs = sorted(
        (run for run in experiments if re.fullmatch(re.escape(name) + REPEATED, run)),
        key=lambda run: (len(run), run),
    )
    if not runs:
        raise MalariaError(
            f"{name!r} is no Git revision, DVC experiment or series, folder in "
            f"{place(folder, EXPERIMENTS)}/, or MLflow run here; see `git log` and `uv run dvc exp "
            f"list --all-commits`, or say {WORKSPACE} for the files as they are."
        )
    return [_committed(root, folder, run, experiments[run], "DVC experiment") for run in runs]


def has_store(root: Path) -> bool:
    """Return whether there is an MLflow store, as far as that is known without asking it."""
    file = sqlite_file(tracking_uri(root))
    return file is None or file.is_file()


def _workspace(root: Path, folder: str) -> Source:
    def read(path: str) -> bytes | None:
        file = root / folder / path
        return file.read_bytes() if file.is_file() else None

    return Source(WORKSPACE, "work tree", "files as they are now", read)


def _committed(root: Path, folder: str, name: str, commit: str, kind: str) -> Source:
    """Return a commit's files; the subject of a DVC experiment's has nothing for people."""

    def read(path: str) -> bytes | None:
        return find_file(root, commit, place(folder, path))

    wanted = "%cs %s" if kind == REVISION else "%cs"
    shown = run_git(root, "log", "-1", f"--format={wanted}", commit).decode(errors="replace")
    return Source(name, kind, f"{commit[:SHORT]}, {shown.strip()}", read, commit)


def _kept(root: Path, name: str) -> Path | None:
    """Return the folder in a pipeline's `experiments/` that a path means, from here or the root."""
    for start in (Path.cwd(), root):
        path = (start / name).resolve()
        if path.is_dir() and path.parent.name == EXPERIMENTS and path.is_relative_to(root):
            return path
    return None


def _kept_source(path: Path) -> Source:
    def read(file: str) -> bytes | None:
        found = path / Path(file).name
        return found.read_bytes() if found.is_file() else None

    about = f"in {EXPERIMENTS}/, with its params and {Path(METRICS).name}"
    return Source(
        path.name, "kept experiment", about, read, experiment=path.name, has_predictions=False
    )
