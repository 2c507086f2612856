"""Finished DVC experiments, copied out of Git so that their numbers can be committed.

DVC keeps an experiment as a commit below refs/exps, which a clone does not have.
"""

from pathlib import Path

from malaria.errors import MalariaError
from malaria.revisions import find_file, run_git

FOLDER = "experiments"  # of a pipeline's folder: one folder an experiment
# Of the pipeline's folder, and what each is called in the copy.
FILES = {
    "params.yaml": "params.yaml",
    "reports/metrics.json": "metrics.json",
    "reports/train.json": "train.json",
    "reports/history.csv": "history.csv",
}


def collect(root: Path, folder: str, names: list[str]) -> list[Path]:
    """Copy params and small results of the named experiments; all of them if none is named.

    `folder` is the pipeline's, relative to the repository. Returns the folders that were written.
    Raises MalariaError for a name that no experiment has.
    """
    known = list_experiments(root)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MalariaError(
            f"no DVC experiment is called {unknown[0]!r} (there are: "
            f"{', '.join(sorted(known)) or 'none'}); see `uv run dvc exp list`."
        )
    written = []
    for name in names or sorted(known):
        contents = {
            target: file_at(root, known[name], f"{folder}/{source}")
            for source, target in FILES.items()
        }
        target = root / folder / FOLDER / name
        target.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            (target / file).write_bytes(content)
        written.append(target)
    return written


def list_experiments(root: Path) -> dict[str, str]:
    """Return the commit of each experiment by its name; of several, the newest."""
    listed = run_git(
        root,
        "for-each-ref",
        "--sort=committerdate",
        "--format=%(refname) %(objectname)",
        "refs/exps",
    ).decode()
    found = {}
    for line in listed.splitlines():
        ref, commit = line.split()
        parts = ref.split("/")
        if len(parts) == 5:  # refs/exps/<2 of the baseline>/<38 of it>/<name>
            found[parts[-1]] = commit
    return found


def file_at(root: Path, commit: str, path: str) -> bytes:
    """Return a file of a commit; raises MalariaError where it has none of this path."""
    content = find_file(root, commit, path)
    if content is None:
        raise MalariaError(
            f"the experiment at {commit[:8]} has no {path}; was it run in another folder?"
        )
    return content
