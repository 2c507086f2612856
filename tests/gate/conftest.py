"""Repositories without results, and with small pipelines that have run."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.gate.branch import Branch
from tests.gate.locked import CODE, MODEL, PARAMS, PIPELINE, dvc, write
from tests.gate.test_metrics_check import write_reports
from tests.git_repo import git


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose pipelines have run, cloned: without the data and DVC's cache."""
    root = tmp_path_factory.mktemp("lock") / "repo"
    git(root.parent, "init", "-q", "repo")
    for name in CODE:
        write(root / name, "# code\n")
    dvc(root, "init", "-q")
    for folder in (root, root / "pilot"):
        if folder != root:
            folder.mkdir()
            dvc(folder, "init", "-q", "--subdir")
            for name in ("malaria", "stages"):
                (folder / name).symlink_to(Path("..", name))
        shutil.copy(REPO / ".dvcignore", folder)
        (folder / "dvc.yaml").write_text(PIPELINE)
        (folder / "params.yaml").write_text(PARAMS)
        write_reports(folder)
        for file in (MODEL, "reports/tables/groups.csv", "reports/report.html"):
            write(folder / file, "content")
        dvc(folder, "commit", "--force")  # as if the stages had run
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "results")
    git(root, "clone", "-q", ".", "../clone")
    return root.parent / "clone"


@pytest.fixture
def clone(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "clone", symlinks=True))


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    """A branch `main` without results."""
    return Branch(tmp_path)
