"""A stage's run that another process logs, for tests that look at it, or kill that process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import REPO
from tests.lock_repo import LockRepo

SCRIPT = """
import sys, time
from pathlib import Path
from malaria.core.yaml_files import read_yaml
from malaria.pipeline.facts import read_facts
from malaria.tracking.live import StageRun
run = StageRun(read_facts(Path(), "train", read_yaml(Path("params.yaml"))), "small")
run.metrics({"epoch": 1, "loss": 0.5, "val_loss": 0.5 / 3}, step=1)
print(run.run_id, flush=True)
time.sleep(600)
"""


def prepare(repo: LockRepo) -> None:
    """Link the package into the pipeline's folder, by which a stage finds its repository."""
    (repo.root / "malaria").mkdir(exist_ok=True)
    if not (repo.folder / "malaria").exists():
        (repo.folder / "malaria").symlink_to("../malaria")


@contextmanager
def live_training(repo: LockRepo) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Give the run's id and the process that has logged one epoch and goes on; it ends here."""
    prepare(repo)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=repo.folder,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()
