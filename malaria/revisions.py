"""What Git knows of other revisions: where a branch began, and files as they were there."""

import io
import json
import posixpath
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from malaria.errors import MalariaError
from malaria.params.base import PARAMS
from malaria.params.study import flatten
from malaria.pipeline import PIPELINES, PREDICTIONS

REFERENCE = "gate-reference"  # the tag of the results that others are held against


@dataclass(frozen=True)
class Commit:
    """A commit, as far as it is shown."""

    id: str
    date: str  # ISO 8601, of the commit
    subject: str


@dataclass(frozen=True)
class ParamChange:
    """A dotted key of params.yaml whose value differs; values as JSON, None where it is not."""

    key: str
    old: str | None
    new: str | None


def run_git(root: Path, *arguments: str) -> bytes:
    """Return what a Git command prints; raises MalariaError with what it says where it fails."""
    result = _git(root, *arguments)
    if result.returncode:
        raise MalariaError(f"git {arguments[0]} failed: {result.stderr.decode().strip()}")
    return result.stdout


def commit_of(root: Path, revision: str) -> str:
    """Return the id of the commit that a branch, tag or id names; raises MalariaError."""
    found = _named(root, revision)
    if found is None:
        _check_repository(root)
        raise MalariaError(
            f"no commit is called {revision!r} here; fetch it (`git fetch origin`, in a clone of "
            "one branch `git fetch origin main:refs/remotes/origin/main`) or name another."
        )
    return found


def merge_base(root: Path, ref: str) -> str:
    """Return the commit from which HEAD and `ref` parted.

    Raises MalariaError outside a repository, in a shallow clone, for a ref that is not there,
    and for histories without a common commit.
    """
    check_whole(root)
    result = _git(root, "merge-base", commit_of(root, ref), commit_of(root, "HEAD"))
    if result.returncode:
        raise MalariaError(
            f"HEAD and {ref!r} have no commit in common; name the branch that HEAD began on."
        )
    return result.stdout.decode().strip()


def check_whole(root: Path) -> None:
    """Raise MalariaError where there is no repository, or its history was cut off by the clone."""
    _check_repository(root)
    if is_shallow(root):
        raise MalariaError(
            f"{root} is a shallow clone, whose history ends too early; run `git fetch "
            "--unshallow`, in a workflow give actions/checkout `fetch-depth: 0`."
        )


def is_shallow(root: Path) -> bool:
    """Tell whether a repository's history was cut off by the clone."""
    return run_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"


def find_blob(root: Path, revision: str, path: str) -> str | None:
    """Return Git's id of a file's content at a revision, None where there is no such file."""
    listed = run_git(root, "ls-tree", "--full-tree", revision, "--", posixpath.normpath(path))
    fields = listed.decode().split(maxsplit=3)
    return fields[2] if fields and fields[1] == "blob" else None


def find_file(root: Path, revision: str, path: str) -> bytes | None:
    """Return a file as it was at a revision, None where there is no such file."""
    blob = find_blob(root, revision, path)
    return None if blob is None else run_git(root, "cat-file", "blob", blob)


def find_yaml(root: Path, revision: str | None, path: str) -> dict[str, Any] | None:
    """Return the mapping in a YAML file at a revision, None where there is no such file.

    Of no revision it is that of the work tree. Raises MalariaError for any other content.
    """
    if revision is None:
        content = (root / path).read_bytes() if (root / path).is_file() else None
    else:
        content = find_file(root, revision, path)
    if content is None:
        return None
    try:
        found = YAML(typ="safe", pure=True).load(content)
    except (YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise MalariaError(
            f"{path} at {revision or 'the work tree'} is no mapping in YAML; mend it."
        )
    return found


def commits_of(root: Path, ref: str, path: str) -> list[Commit]:
    """Return the commits on the first-parent history of `ref` that changed a file, newest first.

    So a merged branch counts as one commit, whatever it did meanwhile. Renames are not followed.
    """
    check_whole(root)
    listed = run_git(
        root,
        "log",
        "--first-parent",
        "--format=%H%x00%cI%x00%s",
        commit_of(root, ref),
        "--",
        posixpath.normpath(path),
    ).decode()
    return [Commit(*line.split("\0")) for line in listed.splitlines()]


def predicted_folders(root: Path) -> list[str]:
    """Return the pipelines whose predictions are in Git and in the work tree."""
    paths = {folder: posixpath.normpath(f"{folder}/{PREDICTIONS}") for folder in PIPELINES}
    tracked = run_git(root, "ls-files", "-z", "--", *paths.values()).decode().split("\0")
    return [folder for folder, path in paths.items() if path in tracked and (root / path).is_file()]


def uses_of_test_set(root: Path, ref: str, folder: str, test_set: str) -> int:
    """Return how many results on a test set have come into the first-parent history of `ref`.

    They are the different contents of the folder's predictions.csv there with this digest. A
    result that was seen but never merged leaves no trace.
    """
    path = f"{folder}/{PREDICTIONS}"
    blobs = {find_blob(root, commit.id, path) for commit in commits_of(root, ref, path)}
    return sum(_test_set_in(root, blob) == test_set for blob in blobs if blob is not None)


def params_diff(root: Path, folder: str, old: str, new: str | None = None) -> list[ParamChange]:
    """Return the params of a folder that differ between two revisions; None: the work tree."""
    before, after = _params_at(root, folder, old), _params_at(root, folder, new)
    return [
        ParamChange(key, before.get(key), after.get(key))
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    ]


def reference(root: Path) -> str | None:
    """Return the commit of the tag `gate-reference`, None where there is no such tag."""
    return _named(root, f"refs/tags/{REFERENCE}")


def _named(root: Path, revision: str) -> str | None:
    wanted = ("--end-of-options", f"{revision}^{{commit}}")
    verified = _git(root, "rev-parse", "--verify", "--quiet", *wanted)
    return None if verified.returncode else verified.stdout.decode().strip()


def _check_repository(root: Path) -> None:
    result = _git(root, "rev-parse", "--git-dir")
    if result.returncode:
        raise MalariaError(
            f"{root} is in no Git repository that can be read; work in a clone of this repository "
            f"({result.stderr.decode().strip()})."
        )


def _test_set_in(root: Path, blob: str) -> str | None:
    """Return the digest of predictions in Git, None where they have other columns."""
    # Here, because scikit-learn takes a second to import, which every stage would wait for.
    from malaria.evaluated import digest_of_test_set
    from malaria.metrics import PREDICTION_COLUMNS, read_predictions

    predictions = read_predictions(io.BytesIO(run_git(root, "cat-file", "blob", blob)))
    return None if set(PREDICTION_COLUMNS) - set(predictions) else digest_of_test_set(predictions)


def _params_at(root: Path, folder: str, revision: str | None) -> dict[str, str]:
    """Return each value of params.yaml as JSON by its dotted key; of no file: none."""
    params = find_yaml(root, revision, f"{folder}/{PARAMS}") or {}
    return {key: json.dumps(value, default=str) for key, value in flatten(params).items()}


def _git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        raise MalariaError("Git is not installed; install it, or put it on PATH.") from None
