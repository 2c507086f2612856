"""Bytes that are not available, or not the pinned ones: refused in one sentence with the remedy."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from malaria.data import download, transfer
from malaria.data.download import download_file
from malaria.errors import MalariaError
from tests.data.download_server import (
    BODY,
    HALF,
    SHA,
    Server,
    assert_only,
    fixed,
    part_of,
    whole,
)


def fault_of(sha256: str, url: str, dest: Path) -> str:
    """Return the message with which `download_file` fails; nothing may be under the final name."""
    with pytest.raises(MalariaError) as caught:
        download_file(sha256, url, dest)
    assert not dest.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rejected_of(dest: Path) -> Path:
    return dest.with_name("cell_images.zip.rejected")


def test_a_folder_that_cannot_be_made_is_named(dest: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    assert re.search(
        r"data.* cannot be used: .*; fix that", fault_of(SHA, "http://127.0.0.1:9/", dest)
    )


def test_a_server_that_never_recovers_is_given_up_with_growing_pauses(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr("malaria.data.download.time.sleep", pauses.append)
    server.script = [whole(stop=HALF), fixed(503)]
    message = fault_of(SHA, server.url, dest)
    assert pauses == [1, 1, 2, 4, 8, 16]
    kept = part_of(dest).stat().st_size
    assert f"{server.url} could not be downloaded, 6 tries in a row gained nothing" in message
    assert "(the last: the server answered 503 Service Unavailable)" in message
    assert f"{kept} bytes are kept in {part_of(dest)} and the same command resumes" in message
    assert "set MALARIA_MIRROR to that folder" in message
    assert "`uv run dvc --cd demo repro`" in message
    server.script = [whole()]
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges[-1] == f"bytes={kept}-"


def test_a_server_that_always_cuts_and_cannot_resume_is_given_up(
    server: Server, dest: Path
) -> None:
    # Halves and quarters in turn: a half after a quarter is no progress.
    halves = (BODY[:HALF], BODY[: HALF // 2])
    server.script = [fixed(200, body, Content_Length=len(BODY)) for body in halves * 10]
    assert "(the last: the connection broke off)" in fault_of(SHA, server.url, dest)
    assert len(server.ranges) == 1 + download.TRIES


def test_a_closed_port_is_given_up_with_its_reason(server: Server, dest: Path) -> None:
    closed = Server()
    closed.server_close()
    message = fault_of(SHA, closed.url, dest)
    assert "6 tries" in message
    assert "Connection refused" in message
    assert "0 bytes are kept" in message


@pytest.mark.parametrize("code", [401, 403, 404, 410, 204])
def test_a_final_answer_is_asked_for_once(code: int, server: Server, dest: Path) -> None:
    server.script = [fixed(code)]
    message = fault_of(SHA, server.url, dest)
    assert f"{server.url} answered {code} " in message
    assert (
        "correct fetch.url, or put a copy of the set into a folder and set MALARIA_MIRROR"
        in message
    )
    assert len(server.ranges) == 1


def test_an_impossible_address_is_named(dest: Path) -> None:
    message = fault_of(SHA, "http://:80/", dest)
    assert message.startswith("http://:80/ cannot be downloaded: ")
    assert "correct fetch.url" in message


def test_wrong_bytes_are_set_aside(server: Server, dest: Path) -> None:
    wrong = b"<html>Sign in to the network</html>"
    server.script = [whole(wrong), whole()]
    message = fault_of(SHA, server.url, dest)
    assert f"gave {len(wrong)} bytes with SHA-256 {hashlib.sha256(wrong).hexdigest()}" in message
    assert f"fetch.download pins {SHA}; they are set aside as {rejected_of(dest)}" in message
    assert_only(rejected_of(dest), wrong)
    download_file(SHA, server.url, dest)
    assert dest.read_bytes() == BODY


def test_too_little_disk_is_said_before_the_download(server: Server, dest: Path) -> None:
    server.script = [fixed(200, BODY, Content_Length=10**18)]
    message = fault_of(SHA, server.url, dest)
    assert f"{10**18} bytes are to be written into {dest.parent}, but its disk has " in message
    assert re.search(r"has \d+ bytes free; free some space", message)
    assert part_of(dest).stat().st_size == 0
    assert len(server.ranges) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_disk_that_fills_up_is_said(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(transfer, "_open_part", lambda path, is_new: full)
    message = fault_of(SHA, server.url, dest)
    assert f"The disk of {dest.parent} is full; free some space" in message
    assert "resumes a download where it stopped" in message
    assert len(server.ranges) == 1
