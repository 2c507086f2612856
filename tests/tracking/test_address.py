"""Where the store is, whatever the address and the name of the repository's folder."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from malaria.errors import MalariaError
from malaria.tracking.address import (
    TRACKING_URI,
    limited,
    reason_of,
    shown_uri,
    sqlite_file,
    tracking_uri,
)


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("", "/repo/mlflow.db"),
        ("sqlite:///mlflow.db", "/repo/mlflow.db"),
        ("sqlite+pysqlite:///runs/a.db", "/repo/runs/a.db"),
        ("sqlite:////srv/a.db", "/srv/a.db"),
        ("sqlite:////srv/a%20b.db?timeout=5", "/srv/a b.db"),
    ],
)
def test_a_relative_file_counts_from_the_repository(
    given: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING_URI, given)
    assert sqlite_file(tracking_uri(Path("/repo"))) == Path(file)


@pytest.mark.parametrize("given", ["http://h:5000", "postgresql://u@h/db", "mlruns"])
def test_another_address_stays(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKING_URI, given)
    assert tracking_uri(Path("/repo")) == given
    assert sqlite_file(given) is None


@pytest.mark.parametrize(
    "given",
    [
        *("sqlite:", "sqlite://", "sqlite:///", "sqlite://mlflow.db", "sqlite:mlflow.db"),
        *("sqlite:///?x", "sqlite:///:memory:", "sqlite:///file:a.db?uri=true"),
    ],
)
def test_an_address_without_a_file_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKING_URI, given)
    with pytest.raises(
        MalariaError, match=r"which names no file; write sqlite:///mlflow\.db"
    ) as told:
        tracking_uri(Path("/repo"))
    assert repr(given) in str(told.value)
    assert shown_uri(Path("/repo")) == given


@pytest.mark.parametrize("folder", ["a b", "Zellen für Ü", "a#b", "a;b&c=d", "a@b", "it's", "a+b"])
def test_most_folders_may_be_named_as_they_are(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACKING_URI, raising=False)
    uri = tracking_uri(Path("/srv") / folder)
    assert make_url(uri).database == f"/srv/{folder}/mlflow.db"


@pytest.mark.parametrize("folder", ["a%20b", "what?"])
def test_a_folder_that_no_address_can_name_is_refused(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACKING_URI, raising=False)
    with pytest.raises(MalariaError, match=r"another meaning for % and \?; rename that folder, or"):
        tracking_uri(Path("/srv") / folder)


def test_a_database_gets_limits_and_keeps_what_was_given() -> None:
    url = make_url(limited("postgresql://u:p%40ss@h/db?connect_timeout=2"))
    assert (url.password, url.query["connect_timeout"]) == ("p@ss", "2")
    assert url.query["tcp_user_timeout"] == "5000"
    assert url.query["options"] == "-c statement_timeout=5000"
    assert limited("http://h") == "http://h"


def test_a_library_that_tears_the_address_apart_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TRACKING_URI, "postgresql://u:pa@ss@h/db?token=planted")
    assert shown_uri(Path("/repo")) == "postgresql://h/db?token=***"
    assert reason_of("no host 'ss@h'\nfor planted") == "no host '***@h' for ***"


def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKING_URI, "http://ada:planted@[")
    with pytest.raises(MalariaError, match="which is no address; correct it") as told:
        tracking_uri(Path())
    assert "planted" not in str(told.value)
