"""Two models at two commits."""

from pathlib import Path

import pytest

from .pipeline import Pipeline, two_models


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return two_models(tmp_path)
