"""What servers do to a download beyond cutting it off, and what may lie in its place."""

import gzip
import os
import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from malaria.core.files import SIZES
from malaria.data import download, transfer
from malaria.data.download import download_file
from tests.data.download_server import (
    BODY,
    HALF,
    SHA,
    Handler,
    Server,
    assert_only,
    fixed,
    part_of,
    whole,
)
from tests.data.test_download_faults import fault_of


@pytest.mark.parametrize("is_told", [True, False])
def test_a_file_that_changes_between_the_halves_is_downloaded_anew(
    is_told: bool, server: Server, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = ({"ETag": f'"{tag}"'} if is_told else {} for tag in ("old", "new"))
    server.script = [
        whole(bytes(reversed(BODY)), HALF, None, **old),
        whole(BODY, None, None, **new),
    ]
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert [asked is None for asked in server.ranges] == [True, False, True]
    said = "the server has another file now" if is_told else "its parts are of different files"
    assert said in capsys.readouterr().out


def test_a_kept_part_of_another_file_is_downloaded_anew(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).write_bytes(bytes(1000))
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == ["bytes=1000-", None]


def test_a_file_that_keeps_changing_is_set_aside(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).write_bytes(bytes(1000))
    server.script = [whole(bytes(reversed(BODY)))]
    assert "they are set aside as" in fault_of(SHA, server.url, dest)
    assert len(server.ranges) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_is_kept(
    status: int, server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("malaria.data.download.time.sleep", pauses.append)
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    asked = ["7", in_a_minute, "soon", "-3", "9" * 5000, formatdate(0)]
    server.script = [fixed(status, Retry_After=one) for one in asked[:4]]
    server.script += [whole()]
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert pauses[0] == 7
    assert 55 < pauses[1] <= 60
    assert pauses[2:] == [0, 0]
    dest.unlink()
    server.script = [*(fixed(status, Retry_After=one) for one in asked[4:]), whole()]
    download_file(SHA, server.url, dest)
    assert pauses[4:] == [0, 0]


def test_a_pause_of_an_hour_is_told_and_not_waited_for(server: Server, dest: Path) -> None:
    server.script = [fixed(503, Retry_After=3600)]
    message = fault_of(SHA, server.url, dest)
    assert "the server answered 503 Service Unavailable and asks to wait 3600 s; run" in message
    assert len(server.ranges) == 1


@pytest.mark.parametrize("place", ["//[", "http://[", "file:///etc/passwd", "http://a:b/", "/" * 9])
def test_a_redirect_that_leads_nowhere_is_a_sentence(
    place: str, server: Server, dest: Path
) -> None:
    server.script = [fixed(302, Location=place), fixed(404)]
    message = fault_of(SHA, server.url, dest)
    assert (
        "correct fetch.url, or put a copy of the set into a folder and set MALARIA_MIRROR"
        in message
    )


def test_a_compressed_answer_is_refused_before_it_grows(server: Server, dest: Path) -> None:
    server.script = [fixed(200, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")]
    assert "is sent compressed (gzip), unasked; correct fetch.url" in fault_of(
        SHA, server.url, dest
    )
    assert not part_of(dest).exists()


def test_a_file_of_another_size_than_the_pinned_one_is_not_downloaded(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, SHA, len(BODY) - 1)
    said = (
        f"has {len(BODY)} bytes, but the file that fetch.download pins has {len(BODY) - 1}; correct"
    )
    assert said in fault_of(SHA, server.url, dest)
    assert not part_of(dest).exists()


@pytest.mark.parametrize("known", [True, False])
def test_more_bytes_than_the_file_can_have_are_stopped(
    known: bool, server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 150_000
    monkeypatch.setattr(transfer, "MOST_BYTES", most)
    if known:
        monkeypatch.setitem(SIZES, SHA, most)
        monkeypatch.setattr(transfer, "MOST_BYTES", 10 * len(BODY))
    server.script = [lambda handler: handler.answer(200, BODY)]  # of undeclared length
    assert f"sends more than the {most} bytes it can have; correct" in fault_of(
        SHA, server.url, dest
    )
    assert not part_of(dest).exists()
    assert len(server.ranges) == 1


def test_a_server_of_a_byte_a_second_is_announced_and_given_up(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(download, "TRIES", 3)

    def drip(handler: Handler) -> None:
        handler.answer(200, Content_Length=len(BODY))
        while not handler.server.release.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.script = [drip]
    message = fault_of(SHA, server.url, dest)
    assert re.search(
        r"3 tries in a row gained nothing \(the last: the server sent \d+ bytes in", message
    )
    assert "bytes in 0.1 s; trying again in" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_what_lies_in_the_place_of_the_part_is_not_written_to(
    kind: str, server: Server, dest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("other")
    dest.parent.mkdir(parents=True)
    if kind == "link":
        part_of(dest).symlink_to(other)
    elif kind == "hard link":
        part_of(dest).hardlink_to(other)
    else:
        os.mkfifo(part_of(dest))
    assert f"{part_of(dest)} is a link, or no file, where" in fault_of(SHA, server.url, dest)
    assert other.read_text() == "other"
    part_of(dest).unlink()
    for suffix in (".tmp", ".rejected"):
        dest.with_name(dest.name + suffix).symlink_to(other)
    server.script = [whole(b"wrong")]
    fault_of(SHA, server.url, dest)
    server.script = [whole()]
    download_file(SHA, server.url, dest)
    assert other.read_text() == "other"
    assert dest.read_bytes() == BODY


def test_a_link_that_appears_later_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "part").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        transfer._open_part(tmp_path / "part", is_new=True)
    assert not (tmp_path / "other").exists()
