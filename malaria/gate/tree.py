"""A revision's files in a temporary checkout, byte for byte, for tools that read folders."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from malaria.errors import MalariaError
from malaria.gate.predictions import SHORT, shown_error
from malaria.paths import PIPELINES
from malaria.pipeline.git import commit_of, run_git

MOST_MB = 200  # of a revision's files; this repository has 10
CODE = ("malaria", "stages")
CONFIG = ".dvc/config"
# No file is changed on its way out of Git, whatever .gitattributes of the revision say.
RAW = "* -text -eol -ident -filter -working-tree-encoding\n"
# No hook runs, and a link is a file that holds its target.
SETTINGS = ("core.symlinks=false", "core.autocrlf=false", "core.hooksPath=/dev/null")
NOBODY = ("-c", "user.name=malaria", "-c", "user.email=malaria@localhost")


def commit_to_read(root: Path, revision: str | None) -> str:
    """Return the commit of a revision; None: a new one, of no branch, with the work tree's files.

    What Git ignores is not in it.
    """
    if revision is not None:
        return commit_of(root, revision)
    with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        _git(root, "read-tree", "HEAD", **index)
        _git(root, "add", "-A", **index)
        tree = _git(root, "write-tree", **index)
    return _git(root, *NOBODY, "commit-tree", "-p", "HEAD", "-m", "the work tree", tree)


@contextmanager
def checkout_of(root: Path, revision: str) -> Iterator[Path]:
    """Give a temporary checkout of a revision of the repository at `root`.

    Nothing of the revision is run, and its links are plain files, except those from a pipeline to
    the code. DVC's settings are those of `root`. Raises MalariaError for a revision that is not
    there or too large; errors while the checkout is used name its files by the revision.
    """
    commit = commit_of(root, revision)
    _check_size(root, commit)
    with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
        tree = Path(scratch).resolve() / "malaria"
        options = [part for setting in SETTINGS for part in ("-c", setting)]
        _git(root, "clone", "-q", "--shared", "--no-checkout", "--template=", *options, ".", tree)
        (tree / ".git/info").mkdir(exist_ok=True)
        (tree / ".git/info/attributes").write_text(RAW)
        _git(tree, "checkout", "-q", "--detach", commit)
        _link_code(tree)
        _set_dvc(root, tree)
        try:
            yield tree
        except MalariaError as error:
            raise MalariaError(str(error).replace(f"{tree}/", f"{commit[:SHORT]}:")) from None


def _check_size(root: Path, commit: str) -> None:
    listed = run_git(root, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0")
    sizes = (entry.partition(b"\t")[0].split()[-1] for entry in listed if entry)
    megabytes = sum(int(size) for size in sizes if size.isdigit()) / 10**6
    if megabytes > MOST_MB:
        raise MalariaError(
            f"the files of {commit[:SHORT]} have {megabytes:,.0f} MB, more than the {MOST_MB} MB "
            "that are checked; leave data and models to DVC."
        )


def _link_code(tree: Path) -> None:
    """Make the links from pipelines to the code; others stay files."""
    for folder in PIPELINES:
        for name in CODE:
            link, target = tree / folder / name, f"../{name}"
            if link.is_file() and link.read_bytes() == target.encode():
                link.unlink()
                link.symlink_to(target)


def _set_dvc(root: Path, tree: Path) -> None:
    """Give each pipeline the settings of `root`, without those for this machine."""
    for folder in PIPELINES:
        ours, theirs = root / folder / CONFIG, tree / folder / CONFIG
        if (tree / folder).is_dir() and ours.is_file():
            if theirs.parent.exists() and not theirs.parent.is_dir():
                theirs.parent.unlink()
            shutil.rmtree(theirs.parent, ignore_errors=True)
            theirs.parent.mkdir()
            shutil.copyfile(ours, theirs)


def _git(folder: Path, *arguments: str | Path, **env: str) -> str:
    result = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode:
        reason = shown_error(RuntimeError(result.stderr))
        raise MalariaError(f"git {' '.join(map(str, arguments))[:60]} failed: {reason}")
    return result.stdout.strip()
