"""Files have the same bytes on every system, whatever Git is told to do with line ends."""

import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPO
from tests.git_repo import git

# Text, data whose hash is in a lock, and a picture.
FILES = (
    "dvc.yaml",
    "malaria/__init__.py",
    "pilot/dvc.lock",
    "pilot/reports/predictions.csv",
    "pilot/reports/figures/evaluation.png",
    "pilot/reports/report.html",
)


def test_a_clone_with_windows_line_ends_has_the_same_bytes(tmp_path: Path) -> None:
    source, clone = tmp_path / "source", tmp_path / "clone"
    present = [name for name in FILES if (REPO / name).exists()]
    assert len(present) > 3
    for name in [*present, ".gitattributes"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / name, source / name)
    git(source, "init", "-q")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "all")
    command = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "-q"]
    subprocess.run([*command, str(source), str(clone)], check=True)
    for name in present:
        assert (clone / name).read_bytes() == (REPO / name).read_bytes(), name
    git(clone, "config", "core.autocrlf", "true")
    assert git(clone, "status", "--porcelain") == ""
