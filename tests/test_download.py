"""Obtaining pinned bytes, against a real local server that misbehaves in every known way."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from malaria import download
from malaria.download import obtain
from malaria.errors import MalariaError
from malaria.mirror import find_in_mirror, sha256_of

BODY = random.Random(1).randbytes(400_000)
SHA = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2


class Handler(BaseHTTPRequestHandler):
    """Answers each request by the next step of the server's script, the last one for ever."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        self.server.encodings.append(self.headers["Accept-Encoding"])
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)
        self.close_connection = True

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1 that logs the ranges it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Step] = [whole()]
        self.ranges: list[str | None] = []
        self.encodings: list[str | None] = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/cell_images.zip"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: clients that hang up are part of the tests."""


Step = Callable[[Handler], None]


def whole(body: bytes = BODY, stop: int | None = None, then: Step | None = None) -> Step:
    """Answer a range as a good server does, but send nothing from byte `stop` on; do `then`."""

    def step(handler: Handler) -> None:
        asked = handler.headers["Range"]
        start = int(asked[len("bytes=") : -1]) if asked else 0
        length = {"Content_Length": len(body) - start}
        if start >= len(body):
            handler.head(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
        elif asked:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            handler.head(206, Content_Range=span, **length)
        else:
            handler.head(200, **length)
        handler.wfile.write(body[start:stop])
        if then:
            then(handler)

    return step


def without_ranges(body: bytes = BODY, stop: int | None = None) -> Step:
    def step(handler: Handler) -> None:
        handler.head(200, Content_Length=len(body))
        handler.wfile.write(body[:stop])

    return step


def status(code: int) -> Step:
    return lambda handler: handler.head(code, Content_Length=0)


def hang(handler: Handler) -> None:
    handler.wfile.flush()
    handler.server.release.wait(30)


@pytest.fixture(autouse=True)
def _no_pause_no_mirror_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0)
    monkeypatch.delenv("MALARIA_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    # The default interval makes each shutdown last half a second.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "data/raw/cell_images.zip"


def part_of(dest: Path) -> Path:
    return dest.with_name("cell_images.zip.part")


def rejected_of(dest: Path) -> Path:
    return dest.with_name("cell_images.zip.rejected")


def assert_only(dest: Path, content: bytes = BODY) -> None:
    """Check that the folder of `dest` holds it, with this content, and no other file."""
    assert dest.read_bytes() == content
    assert list(dest.parent.iterdir()) == [dest]


def fault_of(sha256: str, url: str, dest: Path) -> str:
    """Return the message with which `obtain` fails; nothing may be under the final name."""
    with pytest.raises(MalariaError) as caught:
        obtain(sha256, url, dest)
    assert not dest.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What needs no network


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "a") == expected


def test_a_right_file_is_kept_and_nothing_is_asked(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    dest.write_bytes(BODY)
    os.utime(dest, (1, 1))
    inode = dest.stat().st_ino
    obtain(SHA, server.url, dest)
    assert (dest.stat().st_ino, dest.stat().st_mtime) == (inode, 1)
    assert server.ranges == []


def test_a_wrong_file_is_replaced(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    dest.write_bytes(b"old")
    obtain(SHA, server.url, dest)
    assert_only(dest)


def test_the_mirror_comes_before_the_address(
    server: Server, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = tmp_path / "mirror/deep/any_name.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(BODY)
    (tmp_path / "mirror/other").write_bytes(b"other")
    monkeypatch.setenv("MALARIA_MIRROR", str(tmp_path / "mirror"))
    assert find_in_mirror(SHA) == mirrored
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == []
    assert mirrored.read_bytes() == BODY


@pytest.mark.parametrize("value", [None, ""])
def test_no_mirror_finds_nothing(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("MALARIA_MIRROR", value)
    assert find_in_mirror(SHA) is None


def test_a_mirror_that_is_no_folder_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALARIA_MIRROR", str(tmp_path / "gone"))
    with pytest.raises(MalariaError, match=r"MALARIA_MIRROR is '.*gone', which is not a folder"):
        find_in_mirror(SHA)


def test_a_relative_path_is_copied(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.zip").write_bytes(BODY)
    monkeypatch.chdir(tmp_path)
    obtain(SHA, "mine.zip", dest)
    assert_only(dest)


@pytest.mark.parametrize("url", ["nowhere.zip", "s3://bucket/cell_images.zip"])
def test_a_path_that_does_not_exist_is_said_with_all_remedies(
    url: str, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = fault_of(SHA, url, dest)
    assert f"fetch.url is {url!r}" in message
    assert "MALARIA_MIRROR is not set" in message
    assert "`uv run malaria subset` (see README.md)" in message
    monkeypatch.setenv("MALARIA_MIRROR", str(tmp_path))
    assert f"MALARIA_MIRROR ({tmp_path}) holds none (searched by SHA-256 {SHA})" in fault_of(
        SHA, url, dest
    )


def test_a_path_with_other_bytes_is_refused(dest: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.zip"
    source.write_bytes(b"abc")
    message = fault_of(SHA, str(source), dest)
    assert f"{source} (3 bytes) has SHA-256 ba7816bf" in message
    assert f"fetch.sha256 pins {SHA}" in message
    assert list(dest.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "mine.zip").write_bytes(BODY)
    with pytest.raises(MalariaError, match=r"file.* cannot be used: .*; mend that"):
        obtain(SHA, str(tmp_path / "mine.zip"), tmp_path / "file/cell_images.zip")


# Downloads that work in the end


def test_a_download_is_one_plain_request(server: Server, dest: Path) -> None:
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert (server.ranges, server.encodings) == ([None], ["identity"])


def test_a_body_of_undeclared_length_is_taken(server: Server, dest: Path) -> None:
    def step(handler: Handler) -> None:
        handler.head(200)
        handler.wfile.write(BODY)

    server.script = [step]
    obtain(SHA, server.url, dest)
    assert_only(dest)


def test_a_cut_connection_is_resumed_where_it_stopped(
    server: Server, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [whole(stop=HALF), whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    first, second = server.ranges
    assert first is None
    assert second is not None
    # Less than one chunk may be lost with the connection.
    assert HALF - download.CHUNK < int(second[len("bytes=") : -1]) <= HALF
    assert "cell_images.zip: the connection broke off; trying again in 0 s." in (
        capsys.readouterr().out
    )


def test_a_range_shorter_than_asked_is_continued(server: Server, dest: Path) -> None:
    def short(handler: Handler) -> None:
        start = int(handler.headers["Range"][len("bytes=") : -1])
        piece = BODY[start : start + 70_000]
        span = f"bytes {start}-{start + len(piece) - 1}/{len(BODY)}"
        handler.head(206, Content_Range=span, Content_Length=len(piece))
        handler.wfile.write(piece)

    server.script = [whole(stop=HALF), short, whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert len(server.ranges) == 3


def test_progress_earns_new_tries(server: Server, dest: Path) -> None:
    stops = range(70_000, len(BODY), 40_000)
    assert len(stops) > download.TRIES
    server.script = [*(whole(stop=stop) for stop in stops), whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)


def test_a_server_without_ranges_is_read_from_the_start(server: Server, dest: Path) -> None:
    server.script = [without_ranges(stop=HALF), without_ranges()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges[1] is not None


@pytest.mark.parametrize("span", ["bytes 5-399999/400000", "bytes 200000-", "", "items 0-1/2"])
def test_another_range_than_asked_is_not_glued_in(span: str, server: Server, dest: Path) -> None:
    def wrong(handler: Handler) -> None:
        handler.head(206, Content_Range=span, Content_Length=9)
        handler.wfile.write(b"\0" * 9)

    server.script = [whole(stop=HALF), wrong, whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges[1] is not None
    assert server.ranges[2] is None


def test_416_on_a_complete_part_ends_the_download(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).write_bytes(BODY)
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == [f"bytes={len(BODY)}-"]


def test_416_on_a_wrong_part_restarts_from_nothing(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).write_bytes(BODY + b"more")
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == [f"bytes={len(BODY) + 4}-", None]


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_passing_fault_of_the_server_is_waited_for(code: int, server: Server, dest: Path) -> None:
    server.script = [status(code), status(code), whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert len(server.ranges) == 3


def test_a_server_that_stalls_is_left_and_resumed(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CONNECT_AND_READ_SECONDS", (0.3, 0.3))
    server.script = [whole(stop=HALF, then=hang), whole()]
    start = time.monotonic()
    obtain(SHA, server.url, dest)
    assert time.monotonic() - start < 10
    assert_only(dest)
    assert server.ranges[1] is not None


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_dead_process_is_resumed_by_the_next(
    kill: signal.Signals, server: Server, dest: Path
) -> None:
    server.script = [whole(stop=HALF, then=hang), whole()]
    program = (
        "import sys; from pathlib import Path; from malaria.download import obtain; "
        "obtain(sys.argv[1], sys.argv[2], Path(sys.argv[3]))"
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
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges == [None, f"bytes={kept}-"]


# Downloads that fail


def test_a_server_that_never_recovers_is_given_up_with_growing_pauses(
    server: Server, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    server.script = [whole(stop=HALF), status(503)]
    message = fault_of(SHA, server.url, dest)
    assert pauses == [1, 1, 2, 4, 8, 16]
    kept = part_of(dest).stat().st_size
    assert f"{server.url} could not be downloaded, 6 tries in a row gained nothing" in message
    assert "(the last: the server answered 503 Service Unavailable)" in message
    assert f"{kept} bytes are kept in {part_of(dest)} and the same command resumes" in message
    assert "set MALARIA_MIRROR to that folder" in message
    assert "`uv run dvc repro demo/dvc.yaml`" in message
    server.script = [whole()]
    obtain(SHA, server.url, dest)
    assert_only(dest)
    assert server.ranges[-1] == f"bytes={kept}-"


def test_a_server_that_always_cuts_and_cannot_resume_is_given_up(
    server: Server, dest: Path
) -> None:
    # Halves and quarters in turn: a half after a quarter is no progress.
    server.script = [without_ranges(stop=stop) for stop in (HALF, HALF // 2) * 10]
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
    server.script = [status(code)]
    message = fault_of(SHA, server.url, dest)
    assert f"{server.url} answered {code} " in message
    assert "correct fetch.url, or put the file into a folder and set MALARIA_MIRROR" in message
    assert len(server.ranges) == 1


def test_an_address_that_is_none_is_said(dest: Path) -> None:
    message = fault_of(SHA, "http://:80/", dest)
    assert message.startswith("http://:80/ cannot be downloaded: ")
    assert "correct fetch.url" in message


def test_wrong_bytes_are_set_aside(server: Server, dest: Path) -> None:
    wrong = b"<html>Sign in to the network</html>"
    server.script = [whole(wrong), whole()]
    message = fault_of(SHA, server.url, dest)
    assert f"gave {len(wrong)} bytes" in message
    assert f"with SHA-256 {hashlib.sha256(wrong).hexdigest()}" in message
    assert f"fetch.sha256 pins {SHA}; they are set aside as {rejected_of(dest)}" in message
    assert list(dest.parent.iterdir()) == [rejected_of(dest)]
    assert rejected_of(dest).read_bytes() == wrong
    obtain(SHA, server.url, dest)
    assert dest.read_bytes() == BODY


def test_a_file_that_changed_between_the_halves_is_caught(server: Server, dest: Path) -> None:
    changed = bytes(reversed(BODY))
    server.script = [whole(stop=HALF), whole(changed), whole()]
    message = fault_of(SHA, server.url, dest)
    assert re.search(rf"gave {len(BODY)} bytes with SHA-256 (?!{SHA})", message)
    assert "run the same command to download from the start" in message
    assert not part_of(dest).exists()
    obtain(SHA, server.url, dest)
    assert dest.read_bytes() == BODY
    assert server.ranges[-1] is None


def test_too_little_disk_is_said_before_the_download(server: Server, dest: Path) -> None:
    def vast(handler: Handler) -> None:
        handler.head(200, Content_Length=10**18)
        handler.wfile.write(BODY)

    server.script = [vast]
    message = fault_of(SHA, server.url, dest)
    assert re.search(
        rf"{10**18} bytes are to be written into {dest.parent}, but its disk has \d+ bytes free; "
        "free some space",
        message,
    )
    assert part_of(dest).stat().st_size == 0
    assert len(server.ranges) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_disk_that_fills_up_is_said(server: Server, dest: Path) -> None:
    dest.parent.mkdir(parents=True)
    part_of(dest).symlink_to("/dev/full")
    message = fault_of(SHA, server.url, dest)
    assert f"The disk of {dest.parent} is full; free some space" in message
    assert "resumes a download where it stopped" in message
    assert part_of(dest).is_symlink()
    assert len(server.ranges) == 1


def test_too_little_disk_for_a_copy_is_said(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "mine.zip"
    source.write_bytes(BODY)

    def nearly_full(folder: Path) -> object:
        return type("Usage", (), {"free": len(BODY) - 1})

    monkeypatch.setattr("shutil.disk_usage", nearly_full)
    message = fault_of(SHA, str(source), dest)
    assert f"{len(BODY)} bytes are to be written into {dest.parent}" in message
    assert list(dest.parent.iterdir()) == []
