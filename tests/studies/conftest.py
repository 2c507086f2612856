"""A repository with results."""

from pathlib import Path

import pytest

from malaria.studies.results import END, START, TABLES
from tests.conftest import REPO
from tests.studies.kept import PILOT, keep, write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the pilot, two experiments on it, and text around each table."""
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    write_run(tmp_path / "pilot", tmp_path / "pilot/reports", auc=0.8)
    keep(tmp_path, PILOT, "a", auc=0.85, **{"augment.zoom_range": [0.9, 1.1]})
    keep(tmp_path, PILOT, "b", auc=0.9, batch_size=32)
    (tmp_path / "reports/explore").mkdir(parents=True)
    (tmp_path / "reports/explore/balance.csv").write_text(
        "split,patients,cells\ntrain,120,7532\nval,30,1234\ntest,50,1234\n"
    )
    (tmp_path / "docs").mkdir()
    for file, name in TABLES:
        with (tmp_path / file).open("a") as text:
            text.write(f"before\n{START.format(name=name)}old{END.format(name=name)}\nafter\n")
    return tmp_path
