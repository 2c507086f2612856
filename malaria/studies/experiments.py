"""Finished DVC experiments, copied out of Git so that their numbers can be committed."""

from pathlib import Path

from malaria import paths
from malaria.core.files import write_file
from malaria.errors import MalariaError
from malaria.pipeline import history
from malaria.pipeline.git import find_file
from malaria.pipeline.stages import place

COPIED = (paths.PARAMS, paths.METRICS, paths.TRAINED, paths.HISTORY)


def collect(root: Path, folder: str, names: list[str]) -> list[Path]:
    """Copy params and small results of the named experiments, or of all if none is named.

    `folder` is the pipeline's, relative to the repository. Returns the folders that were written.
    Raises MalariaError for a name that no experiment has.
    """
    commits = list_experiments(root)
    unknown = [name for name in names if name not in commits]
    if unknown:
        known, remedy = ", ".join(sorted(commits)), paths.dvc(folder, "exp list --all-commits")
        raise MalariaError(
            f"no DVC experiment is called {unknown[0]!r} (there are: {known or 'none'}); see "
            f"`{remedy}`."
        )
    written = []
    for name in names or sorted(commits):
        contents = [file_at(root, commits[name], place(folder, path)) for path in COPIED]
        target = root / folder / paths.EXPERIMENTS / name
        target.mkdir(parents=True, exist_ok=True)
        for path, content in zip(COPIED, contents, strict=True):
            write_file(target / Path(path).name, content)
        written.append(target)
    return written


def list_experiments(root: Path) -> dict[str, str]:
    """Return the commit of each DVC experiment by name; the newest if several share a name."""
    return {str(found.experiment): found.commit for found in history.list_experiments(root)}


def file_at(root: Path, commit: str, path: str) -> bytes:
    """Return a file of an experiment's commit; raises MalariaError if it has no such path."""
    content = find_file(root, commit, path)
    if content is None:
        raise MalariaError(
            f"the experiment at {commit[:8]} has no {path}; was it run in another folder?"
        )
    return content
