"""What the tests of downloads share: a local server, and a place for the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from malaria.core.files import MIRROR
from malaria.data import download
from tests.data.download_server import Server, serving


@pytest.fixture
def dest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where to put the file; downloads there make no pauses and know no mirror."""
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0)
    monkeypatch.delenv(MIRROR, raising=False)
    return tmp_path / "data/raw/cell_images.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server
