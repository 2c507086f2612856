"""What dvc.lock says in the work tree, at commits, and in DVC experiments.

Only Git is asked: no remote, and no more than the clone has.
"""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from malaria.core.yaml_files import find_mapping
from malaria.errors import MalariaError
from malaria.paths import LOCK, PARAMS, PIPELINE, PIPELINES
from malaria.pipeline.git import check_whole, commit_of, run_git
from malaria.pipeline.lock import Entry, read_entries
from malaria.pipeline.stages import (
    Stage,
    counted,
    files_at,
    md5_of,
    md5_of_folder,
    place,
    stages_of,
)

SHOWN = "--format=%H%x00%ct%x00%P"
LOCKS = [place(folder, LOCK) for folder in PIPELINES]
TREE_MODE, FILE_MODES = b"40000", (b"100644", b"100755")
ID_BYTES = 20  # of an object's id in a tree


@dataclass(frozen=True)
class Revision:
    """A commit, or the work tree on top of one."""

    commit: str
    time_ms: int  # of the commit; of the work tree: when its lock was written
    parent: str | None  # the commit that it is compared with
    experiment: str | None = None  # the DVC experiment that it is
    is_worktree: bool = False

    def __str__(self) -> str:
        if self.is_worktree:
            return "the work tree"
        return f"{self.commit[:8]} ({self.experiment})" if self.experiment else self.commit[:8]

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts revisions by time, the work tree last."""
        return self.is_worktree, self.time_ms


@dataclass
class State:
    """One content of a folder's dvc.lock, and the revisions that have it, the oldest first."""

    folder: str
    entries: dict[str, Entry]
    revisions: list[Revision] = field(default_factory=list)

    @property
    def experiment(self) -> str | None:
        """The DVC experiment that ended in this state; the oldest if there are several."""
        names = [revision.experiment for revision in self.revisions if revision.experiment]
        return names[0] if names else None


class Files:
    """Files of the repository at any revision, read by one Git process."""

    def __init__(self, root: Path, process: "subprocess.Popen[bytes]") -> None:
        """`process` is `git cat-file --batch`."""
        self.root = root
        self._process = process
        self._stages: dict[tuple[Revision, str], dict[str, Stage]] = {}

    def read(self, revision: Revision, path: str) -> bytes | None:
        """Return a file of the revision, None if it has none; `path` is relative to the root."""
        if revision.is_worktree:
            file = self.root / path
            return file.read_bytes() if file.is_file() else None
        return self._object(f"{revision.commit}:{path}", b"blob")

    def list(self, revision: Revision, path: str) -> list[str]:
        """Return all files below a folder of the revision, relative to it."""
        if revision.is_worktree:
            return files_at(self.root, path)
        return [*self._below(self._object(f"{revision.commit}:{path}", b"tree"), "")]

    def md5(self, revision: Revision, path: str) -> str:
        """Return the MD5 that DVC gives a file or folder of the revision."""
        content = self.read(revision, path)
        if content is not None:
            return md5_of(content)
        names = counted(path, self.list(revision, path))
        contents = {name: self.read(revision, f"{path}/{name}") or b"" for name in names}
        return md5_of_folder({name: md5_of(content) for name, content in contents.items()})

    def read_yaml(self, revision: Revision, path: str) -> dict[str, Any] | None:
        """Return the mapping in a YAML file, None if there is none; do not change it."""
        return find_mapping(self.read(revision, path))

    def params(self, revision: Revision, folder: str) -> dict[str, Any]:
        """Return the folder's params.yaml at the revision; {} if it has none."""
        return self.read_yaml(revision, place(folder, PARAMS)) or {}

    def stages(self, revision: Revision, folder: str) -> dict[str, Stage]:
        """Return the stages of the folder's dvc.yaml; {} if they are not readable."""
        if revision.is_worktree:  # may change at any time
            return self._read_stages(revision, folder)
        key = (revision, folder)
        if key not in self._stages:
            self._stages[key] = self._read_stages(revision, folder)
        return self._stages[key]

    def _read_stages(self, revision: Revision, folder: str) -> dict[str, Stage]:
        pipeline = self.read_yaml(revision, place(folder, PIPELINE))
        try:
            return stages_of(pipeline, self.params(revision, folder)) if pipeline else {}
        except (AttributeError, KeyError, TypeError):  # of another schema
            return {}

    def _object(self, name: str, kind: bytes) -> bytes | None:
        """Return the content of a Git object, None if there is none of this kind."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(f"{name}\n".encode())
        asked.flush()
        fields = answered.readline().split()
        if len(fields) != 3 or not fields[2].isdigit():  # "... missing", or a broken repository
            return None
        content = answered.read(int(fields[2]))
        answered.read(1)  # the line's end
        return content if fields[1] == kind else None

    def _below(self, tree: bytes | None, path: str) -> Iterator[str]:
        """Give the files of a tree object, which has mode, name and id of each entry."""
        while tree:
            mode, _, tree = tree.partition(b" ")
            name, _, tree = tree.partition(b"\0")
            found, tree = tree[:ID_BYTES].hex(), tree[ID_BYTES:]
            if mode == TREE_MODE:
                yield from self._below(self._object(found, b"tree"), f"{path}{name.decode()}/")
            elif mode in FILE_MODES:
                yield f"{path}{name.decode()}"


@contextmanager
def open_files(root: Path) -> Iterator[Files]:
    """Give the files of the repository at `root` at all of its revisions."""
    commit_of(root, "HEAD")  # raises what is wrong with the repository
    process = subprocess.Popen(
        ["git", "cat-file", "--batch"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:  # closes its input, at which it ends
        yield Files(root, process)


def select(root: Path, rev: str | None, all_commits: bool, experiments: bool) -> list[Revision]:
    """Return the commits and DVC experiments that are asked for, the oldest first.

    `rev` is A..B or one revision. Raises MalariaError for a revision that does not exist, and for
    a history that a shallow clone cut off.
    """
    found: list[Revision] = []
    if rev is not None:
        found += _range(root, rev)
    if all_commits:
        check_whole(root)
        found += _log(root, "--exclude=refs/exps/*", "--exclude=refs/stash", "--all")
    if experiments:
        found += list_experiments(root)
    unique = {(revision.commit, revision.experiment): revision for revision in found}
    return sorted(unique.values(), key=lambda revision: revision.time_ms)


def history(root: Path, revisions: Sequence[Revision]) -> list[Revision]:
    """Return all commits that changed a lock and led to the revisions, the oldest first.

    An experiment's own commit is none of them.
    """
    tips = {revision.parent if revision.experiment else revision.commit for revision in revisions}
    known = sorted(tip for tip in tips if tip is not None)
    return _log(root, *known) if known else []


def read_states(files: Files, revisions: Iterable[Revision], faults: list[str]) -> list[State]:
    """Return the different contents that the folders' locks have at the revisions.

    An unreadable lock of the work tree raises MalariaError, as a user can correct it; one of a
    commit adds a sentence to `faults`.
    """
    found: dict[tuple[str, bytes], State] = {}
    for revision in revisions:
        for folder in PIPELINES:
            path = place(folder, LOCK)
            content = files.read(revision, path)
            if content is None:
                continue
            key = (folder, content)
            if key not in found:
                try:
                    entries = read_entries(content, folder, f"{path} of {revision}")
                except MalariaError as error:
                    if revision.is_worktree:
                        raise
                    faults.append(f"{error}")
                    entries = {}
                found[key] = State(folder, entries)
            found[key].revisions.append(_dated(revision, files.root / path))
    return [state for state in found.values() if state.entries]


def worktree(root: Path) -> Revision:
    """Return the work tree as a revision; its time is that of each folder's lock."""
    head = commit_of(root, "HEAD")
    return Revision(head, 0, head, is_worktree=True)


def list_experiments(root: Path) -> list[Revision]:
    """Return the DVC experiments of all names and baselines, the oldest first.

    DVC keeps an experiment as a commit below refs/exps, which a clone does not have.
    """
    shown = "%(refname) %(objectname) %(committerdate:unix) %(parent)"
    refs = ("for-each-ref", "--sort=committerdate", f"--format={shown}", "refs/exps")
    found = []
    for line in run_git(root, *refs).decode().splitlines():
        ref, commit, seconds, *parents = line.split()
        parts = ref.split("/")
        if len(parts) == 5:  # refs/exps/<2 of the baseline>/<38 of it>/<name>
            parent = parents[0] if parents else None
            found.append(Revision(commit, int(seconds) * 1000, parent, experiment=parts[-1]))
    return found


def _range(root: Path, rev: str) -> list[Revision]:
    """Return the commits of A..B that changed a lock, and B itself; or one revision."""
    start, dots, end = rev.partition("..")
    if not dots:
        return _log(root, "-1", commit_of(root, rev), paths=[])
    if end.startswith("."):
        raise MalariaError(f"--rev is {rev!r}; write A..B, or one revision.")
    check_whole(root)
    first, last = (commit_of(root, name or "HEAD") for name in (start, end))
    return [*_log(root, f"{first}..{last}"), *_log(root, "-1", last, paths=[])]


def _log(root: Path, *chosen: str, paths: Sequence[str] = LOCKS) -> list[Revision]:
    """Return the commits that changed one of the paths, the oldest first."""
    listed = run_git(root, "log", SHOWN, "--full-history", *chosen, "--", *paths).decode()
    found = []
    for line in reversed(listed.splitlines()):
        commit, seconds, parents = line.split("\0")
        found.append(Revision(commit, int(seconds) * 1000, next(iter(parents.split()), None)))
    return found


def _dated(revision: Revision, lock: Path) -> Revision:
    """Return the work tree with the time at which a lock was written, commits unchanged."""
    if not revision.is_worktree:
        return revision
    return replace(revision, time_ms=int(lock.stat().st_mtime * 1000))
