"""The team server: its secrets, and what is not available when it starts."""

import socket
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from malaria.errors import MalariaError
from tests.conftest import REPO


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the scripts is on the path, as when Python runs one."""
    monkeypatch.syspath_prepend(REPO / "scripts")


@pytest.fixture
def secrets(scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Secrets from a file, as `set -a; . FILE` would set them."""
    import team_server

    file = tmp_path / "team.env"
    team_server.make_secrets(file)
    for line in file.read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    return file


def test_secrets_are_random_and_only_for_their_owner(
    secrets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import team_server

    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    team_server.make_secrets(tmp_path / "other.env")
    printed = capsys.readouterr().out
    lines = (secrets.read_text() + (tmp_path / "other.env").read_text()).splitlines()
    names, values = zip(*(line.split("=", 1) for line in lines), strict=True)
    assert names == team_server.SECRETS * 2
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    assert not any(value in printed for value in values)
    with pytest.raises(MalariaError, match=r"team\.env cannot be made \(File exists\)"):
        team_server.make_secrets(secrets)


def test_a_secret_that_is_not_set(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import team_server

    monkeypatch.setenv("TEAM_DATABASE_PASSWORD", "")
    with pytest.raises(MalariaError, match=r"^TEAM_DATABASE_PASSWORD must be set in the environm"):
        team_server.start(tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["port", "database-port"])
def test_a_port_that_is_taken(secrets: Path, tmp_path: Path, option: str) -> None:
    import team_server

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        command = ["start", str(tmp_path / "data"), f"--{option}", taken]
        result = CliRunner().invoke(team_server.app, command)
    assert str(result.exception) == (
        f"--{option} {taken} of 127.0.0.1 cannot be used (Address already in use); give another."
    )


def test_a_program_that_is_not_installed(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import database
    import storage

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("database.DEBIAN", tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(MalariaError, match=r"^postgresql is not installed; install it with `apt"):
        database.find_programs()
    log = (tmp_path / "log").open("w+")
    with pytest.raises(MalariaError, match=r"^weed is not installed; `uv sync --group test` inst"):
        storage.storage(tmp_path, 8333, {}, {}, log).__enter__()
