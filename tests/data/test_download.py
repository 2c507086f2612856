"""Obtaining pinned bytes: what works in the end, however the server misbehaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from malaria.data import download, transfer
from malaria.data.download import download_file
from malaria.errors import MalariaError
from tests.data.download_server import (
    BODY,
    HALF,
    SHA,
    Handler,
    Server,
    Step,
    assert_only,
    fixed,
    hang,
    part_of,
    whole,
)


def test_a_right_file_is_kept_and_nothing_is_asked(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    dest.write_bytes(BODY)
    os.utime(dest, (1, 1))
    inode = dest.stat().st_ino
    download_file(SHA, server.url, dest)
    assert (dest.stat().st_ino, dest.stat().st_mtime) == (inode, 1)
    assert server.ranges == []


def test_a_wrong_file_is_replaced(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    dest.write_bytes(b"old")
    download_file(SHA, server.url, dest)
    assert_only(dest)


def short(handler: Handler) -> None:
    """Send less of a range than was asked for."""
    start = int(handler.headers["Range"][len("bytes=") : -1])
    piece = BODY[start : start + 70_000]
    span = f"bytes {start}-{start + len(piece) - 1}/{len(BODY)}"
    handler.answer(206, piece, Content_Range=span, Content_Length=len(piece))


CUT = whole(stop=HALF)
ZEROS = b"\0" * 9


@pytest.mark.parametrize(
    ("script", "is_rest"),
    [
        ([whole()], [False]),
        ([lambda handler: handler.answer(200, BODY)], [False]),  # of undeclared length
        ([CUT, short, whole()], [False, True, True]),
        # A server that does not know ranges sends all again.
        ([fixed(200, BODY[:HALF], Content_Length=len(BODY)), fixed(200, BODY)], [False, True]),
        # Another range than asked for is not glued in.
        *(
            ([CUT, fixed(206, ZEROS, Content_Range=span), whole()], [False, True, False])
            for span in ("bytes 5-399999/400000", "bytes 200000-", "", "items 0-1/2")
        ),
        # These faults pass, so they are waited for.
        *(([fixed(code), fixed(code), whole()], [False] * 3) for code in (408, 425, 429, 500, 503)),
    ],
)
def test_the_file_arrives_whole(
    script: list[Step], is_rest: list[bool], server: Server, dest: Path
) -> None:
    server.script = list(script)
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert [asked is not None for asked in server.ranges] == is_rest
    assert set(server.encodings) == {"identity"}


def test_a_cut_connection_is_resumed_where_it_stopped(
    server: Server, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [CUT, whole()]
    download_file(SHA, server.url, dest)
    assert_only(dest)
    first, second = server.ranges
    assert first is None
    assert second is not None
    # Less than one chunk may be lost with the connection.
    assert HALF - transfer.CHUNK < int(second[len("bytes=") : -1]) <= HALF
    said = "cell_images.zip: the connection broke off; trying again in 0 s."
    assert said in capsys.readouterr().out


def test_a_reason_that_comes_again_is_said_once(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MalariaError, match="tries in a row gained nothing"):
        download_file(SHA, "http://127.0.0.1:9/cells.zip", dest)  # nothing listens there
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("cell_images.zip: the connection failed: Failed to establish a new ")
    assert others == ["cell_images.zip: the same again; trying again in 0 s."] * 4


def test_progress_earns_new_tries(server: Server, dest: Path) -> None:
    stops = range(70_000, len(BODY), 40_000)
    assert len(stops) > download.TRIES
    server.script = [*(whole(stop=stop) for stop in stops), whole()]
    download_file(SHA, server.url, dest)
    assert_only(dest)


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        (BODY, [f"bytes={len(BODY)}-"]),  # complete: that ends the download
        (BODY + b"more", [f"bytes={len(BODY) + 4}-", None]),  # wrong: from the start
    ],
)
def test_416_after_a_kept_part_is_understood(
    kept: bytes, ranges: list[str | None], server: Server, dest: Path
) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).write_bytes(kept)
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == ranges


def test_a_server_that_stalls_is_left_and_resumed(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CONNECT_AND_READ_SECONDS", (0.3, 0.3))
    server.script = [whole(stop=HALF, then=hang), whole()]
    start = time.monotonic()
    download_file(SHA, server.url, dest)
    assert time.monotonic() - start < 10
    assert_only(dest)
    assert server.ranges[1] is not None


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_dead_process_is_resumed_by_the_next(
    kill: signal.Signals, server: Server, dest: Path
) -> None:
    server.script = [whole(stop=HALF, then=hang), whole()]
    program = (
        "import sys; from pathlib import Path; from malaria.data.download import download_file; "
        "download_file(sys.argv[1], sys.argv[2], Path(sys.argv[3]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, SHA, server.url, str(dest)],
        stderr=subprocess.DEVNULL,
        # A shell's job in the background, as the tests may be one, starts with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not (part_of(dest).exists() and part_of(dest).stat().st_size > HALF // 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(kill)
    assert process.wait(10) == -kill
    assert not dest.exists()
    kept = part_of(dest).stat().st_size
    download_file(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == [None, f"bytes={kept}-"]
