import socket
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.tracking.ui import show


class Said:
    """What `malaria ui` printed, and what it told beside."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: list[str] = []

    def ask(self, root: Path, host: str = "127.0.0.1", port: int | None = None) -> None:
        show(root, host, port, self.lines.append, self.told.append)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose store is there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").touch()
    return tmp_path


def test_a_store_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(MalariaError, match=rf"no MLflow store at {tmp_path}/mlflow\.db yet"):
        Said().ask(tmp_path)
    assert list(tmp_path.iterdir()) == []  # looking makes none
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(MalariaError, match=rf"no MLflow store at {tmp_path}/other\.db yet"):
        Said().ask(tmp_path)


def test_a_store_that_cannot_be_opened(store: Path) -> None:
    (store / "mlflow.db").write_text("no database\n" * 100)
    with pytest.raises(MalariaError) as error:
        Said().ask(store)
    assert str(error.value) == (
        f"sqlite:///{store}/mlflow.db cannot be shown: "
        "(sqlite3.DatabaseError) file is not a database"
    )


def test_a_server_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example.org/")
    said = Said()
    said.ask(tmp_path)
    assert said.lines == ["https://mlflow.example.org"]
    assert "secret" not in str(said.told)


def test_a_wanted_port_that_is_taken(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MalariaError) as error:
            Said().ask(store, port=port)
    assert str(error.value) == (
        f"--port {port} of 127.0.0.1 cannot be used (Address already in use); give another."
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-machine.invalid"])
def test_an_address_of_another_machine(store: Path, host: str) -> None:
    said = Said()
    with pytest.raises(MalariaError, match=rf"^--host {host} cannot be used \([\w ]+\); give"):
        said.ask(store, host)
    assert said.told == [
        f"whoever reaches {host} can read, change and delete runs; there is no password."
    ]
