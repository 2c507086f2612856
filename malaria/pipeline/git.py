"""What Git knows of a checkout and of other revisions."""

import json
import posixpath
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malaria.core.params import flatten
from malaria.core.yaml_files import find_mapping
from malaria.errors import MalariaError
from malaria.paths import PARAMS, PIPELINES, PREDICTIONS
from malaria.pipeline.stages import place

REFERENCE = "gate-reference"  # the tag of the results that others are compared with
LONGEST_SUBJECT = 200  # characters
SAFE = "safe.directory"  # in Git's own remedy for a checkout of another owner


@dataclass(frozen=True)
class Commit:
    """A commit, as far as it is shown."""

    id: str
    date: str  # ISO 8601, of the commit
    subject: str


@dataclass(frozen=True)
class ParamChange:
    """A dotted key of params.yaml whose value differs; values as JSON, None if it has none."""

    key: str
    old: str | None
    new: str | None


def run_git(root: Path, *arguments: str) -> bytes:
    """Return what a Git command prints; raises MalariaError with Git's message if it fails."""
    result = try_git(root, *arguments)
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()
        raise MalariaError(f"git {arguments[0]} failed: {said}")
    return result.stdout


def try_git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Return a Git command that has ended, well or not."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except OSError:
        raise MalariaError("Git is not installed; install it, or put it on PATH.") from None


def commit_of(root: Path, revision: str) -> str:
    """Return the id of the commit that a branch, tag or id names; raises MalariaError."""
    found = find_commit(root, revision)
    if found is None:
        _check_repository(root)
        raise MalariaError(
            f"no commit is called {revision!r} here; fetch it (`git fetch origin`, in a clone of "
            "one branch `git fetch origin main:refs/remotes/origin/main`) or name another."
        )
    return found


def find_commit(root: Path, revision: str) -> str | None:
    """Return the id of the commit that a revision names, None if there is none."""
    wanted = ("--end-of-options", f"{revision}^{{commit}}")
    verified = try_git(root, "rev-parse", "--verify", "--quiet", *wanted)
    return None if verified.returncode else verified.stdout.decode().strip()


def reference(root: Path) -> str | None:
    """Return the commit of the tag `gate-reference`, None if there is no such tag."""
    return find_commit(root, f"refs/tags/{REFERENCE}")


def merge_base(root: Path, ref: str, head: str = "HEAD") -> str:
    """Return the commit from which `head` and `ref` parted.

    Raises MalariaError outside a repository, in a shallow clone, for a ref that does not exist,
    and for histories without a common commit.
    """
    check_whole(root)
    result = try_git(root, "merge-base", commit_of(root, ref), commit_of(root, head))
    if result.returncode:
        raise MalariaError(
            f"{head} and {ref!r} have no commit in common; name the branch that {head} began on."
        )
    return result.stdout.decode().strip()


def check_whole(root: Path) -> None:
    """Raise MalariaError if there is no repository, or the clone cut off its history."""
    _check_repository(root)
    if is_shallow(root):
        raise MalariaError(
            f"{root} is a shallow clone, whose history ends too early; run `git fetch "
            "--unshallow`, in a workflow give actions/checkout `fetch-depth: 0`."
        )


def is_shallow(root: Path) -> bool:
    """Return whether the clone cut off the repository's history."""
    return run_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"


def find_blob(root: Path, revision: str, path: str) -> str | None:
    """Return Git's id of a file's content at a revision, None if there is no such file."""
    listed = run_git(root, "ls-tree", "--full-tree", revision, "--", posixpath.normpath(path))
    fields = listed.decode().split(maxsplit=3)
    return fields[2] if fields and fields[1] == "blob" else None


def find_file(root: Path, revision: str, path: str) -> bytes | None:
    """Return a file as it was at a revision, None if there is no such file."""
    blob = find_blob(root, revision, path)
    return None if blob is None else run_git(root, "cat-file", "blob", blob)


def find_yaml(root: Path, revision: str | None, path: str) -> dict[str, Any] | None:
    """Return the mapping in a YAML file at a revision, None if there is no such file.

    No revision is the work tree. Raises MalariaError for any other content.
    """
    if revision is None:
        content = (root / path).read_bytes() if (root / path).is_file() else None
    else:
        content = find_file(root, revision, path)
    found = find_mapping(content)
    if content is not None and found is None:
        raise MalariaError(
            f"{path} at {revision or 'the work tree'} is not a mapping in YAML; correct it."
        )
    return found


def commits_of(root: Path, ref: str, path: str) -> list[Commit]:
    """Return the commits on the first-parent history of `ref` that changed a file, newest first.

    So a merged branch counts as one commit, whatever its own commits did. Renames are not
    followed. Subjects are anybody's text, so they are cut, and what is not printable is replaced.
    """
    check_whole(root)
    listed = run_git(
        root,
        "log",
        "-z",
        "--first-parent",
        "--format=%H%x00%cI%x00%s",
        commit_of(root, ref),
        "--",
        posixpath.normpath(path),
    ).decode(errors="replace")
    fields = iter(listed.split("\0")[:-1])
    return [
        Commit(commit, date, "".join(_printable(char) for char in subject[:LONGEST_SUBJECT]))
        for commit, date, subject in zip(fields, fields, fields, strict=True)
    ]


def changed_files(root: Path, old: str, new: str | None) -> list[str]:
    """Return the files that differ between two revisions, sorted; None: the work tree.

    A renamed file counts under both names, and a byte that is no UTF-8 is replaced.
    """
    options = ("--name-only", "-z", "--no-renames", "--ignore-submodules=none")
    if new is None:
        listed = run_git(root, "diff", *options, old)
        listed += run_git(root, "ls-files", "-z", "--others", "--exclude-standard")
    else:
        listed = run_git(root, "diff", *options, old, new)
    return sorted(filter(None, listed.decode(errors="replace").split("\0")))


def predicted_folders(root: Path) -> list[str]:
    """Return the pipelines whose predictions are in Git and in the work tree."""
    paths = {folder: place(folder, PREDICTIONS) for folder in PIPELINES}
    tracked = run_git(root, "ls-files", "-z", "--", *paths.values()).decode().split("\0")
    return [folder for folder, path in paths.items() if path in tracked and (root / path).is_file()]


def params_diff(root: Path, folder: str, old: str, new: str | None = None) -> list[ParamChange]:
    """Return the params of a folder that differ between two revisions; None: the work tree."""
    before, after = _params_at(root, folder, old), _params_at(root, folder, new)
    return [
        ParamChange(key, before.get(key), after.get(key))
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    ]


def _printable(char: str) -> str:
    return char if char.isprintable() else "\ufffd"


def _check_repository(root: Path) -> None:
    result = try_git(root, "rev-parse", "--git-dir")
    said = result.stderr.decode().strip()
    if result.returncode and SAFE in said:
        raise MalariaError(
            f"{root} belongs to another user, so Git does not read it; if you trust its content, "
            f"run `{said.splitlines()[-1].strip()}`."
        )
    if result.returncode:
        raise MalariaError(
            f"{root} is in no Git repository that can be read; work in a clone of this repository "
            f"({' '.join(said.split())})."
        )


def _params_at(root: Path, folder: str, revision: str | None) -> dict[str, str]:
    """Return each value of params.yaml as JSON by its dotted key; {} if there is no file."""
    params = find_yaml(root, revision, place(folder, PARAMS)) or {}
    return {key: json.dumps(value, default=str) for key, value in flatten(params).items()}
