"""A repository with a lock, and an MLflow store without runs."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.lock_repo import LockRepo


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite store without runs, which takes seconds to make."""
    root = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{root / 'mlflow.db'}").search_experiments()
    return root / "mlflow.db"


@pytest.fixture
def repo(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> LockRepo:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "repo"
    made = LockRepo(root)
    shutil.copy(empty_store, root / "mlflow.db")
    return made
