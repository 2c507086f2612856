"""A real local server that misbehaves in every known way, and what it serves."""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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

    def answer(self, status: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


Step = Callable[[Handler], None]


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


@contextmanager
def serving() -> Iterator[Server]:
    """Give a server that runs in a thread."""
    server = Server()
    # The default interval makes each shutdown last half a second.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def whole(
    body: bytes = BODY, stop: int | None = None, then: Step | None = None, **headers: object
) -> Step:
    """Answer a range as a good server does, but send nothing from byte `stop` on; do `then`."""

    def step(handler: Handler) -> None:
        asked = handler.headers["Range"]
        start = int(asked[len("bytes=") : -1]) if asked else 0
        length = {"Content_Length": len(body) - start, **headers}
        if start >= len(body):
            handler.answer(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
        elif asked:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            handler.answer(206, body[start:stop], Content_Range=span, **length)
        else:
            handler.answer(200, body[start:stop], **length)
        if then:
            then(handler)

    return step


def fixed(status: int, body: bytes = b"", **headers: object) -> Step:
    """Answer the same whatever range is asked for."""
    return lambda handler: handler.answer(status, body, **({"Content_Length": len(body)} | headers))


def hang(handler: Handler) -> None:
    handler.wfile.flush()
    handler.server.release.wait(30)


def part_of(dest: Path) -> Path:
    return dest.with_name("cell_images.zip.part")


def assert_only(dest: Path, content: bytes = BODY) -> None:
    """Check that the folder of `dest` holds it, with this content, and no other file."""
    assert dest.read_bytes() == content
    assert list(dest.parent.iterdir()) == [dest]
