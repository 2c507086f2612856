"""Git repositories for tests, and experiments as DVC keeps them."""

import os
import subprocess
from pathlib import Path


def git(root: Path, *arguments: str, date: str = "") -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=root,
        env=os.environ | ({"GIT_COMMITTER_DATE": date} if date else {}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def keep_as_experiment(root: Path, name: str, baseline: str = "a", at: int = 0) -> None:
    """Keep the files of the work tree as DVC keeps an experiment, out of its branch."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", name, date=f"@{1_700_000_000 + at} +0000")
    git(root, "update-ref", f"refs/exps/12/{baseline * 38}/{name}", "HEAD")
    git(root, "reset", "-q", "--hard", "HEAD~1")


def start_repository(root: Path) -> None:
    """Make a repository with one commit."""
    git(root, "init", "-q")
    (root / "a").touch()
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "base")
