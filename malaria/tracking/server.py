"""Servers that run as long as this process wants them, and what their logs say when they do not."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import requests

from malaria.errors import MalariaError

HERE = "127.0.0.1"
START_LIMIT_S = 300
# Of Python, PostgreSQL and SeaweedFS.
ERROR_LINE = re.compile(
    r"^(?:[\w.]+(?:Error|Exception):|.*FATAL: |initdb: error:|F\d{4} \S+ \S+) +(.+)$", re.MULTILINE
)
# One process is enough for a few readers: by default MLflow starts twelve, in three times as long.
SMALL = ("--workers", "1", "--uvicorn-opts", "--timeout-graceful-shutdown 3")
# Its input ends when the process that started it does, in whatever way.
GUARD = """
read -r _
kill -s "$1" "$2"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do kill -s 0 "$2" || break; sleep 1; done
kill -s KILL -- "-$2"
"""
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def running(
    command: Sequence[str],
    env: Mapping[str, str],
    log: IO[str],
    stop: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program, as another user where one is given; at the end it is stopped by `stop`.

    It leads a session of its own: the terminal's Ctrl-C does not reach it, and what it started and
    left behind is killed. A guard stops it where this process is killed and cannot.
    """
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", stop.name.removeprefix("SIG"), str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        guard.kill()
        guard.communicate()
        try:
            process.send_signal(stop)
            process.wait()
        finally:  # also where Ctrl-C comes again
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving(
    options: Sequence[str], host: str, port: int, env: Mapping[str, str], log: IO[str], failure: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run `mlflow server` with options of its own; it answers when this gives its process.

    Raises MalariaError, which begins with `failure`, where it ends or does not answer.
    """
    command = [sys.executable, "-P", "-m", "mlflow", "server", *SMALL, *options]
    command += ["--host", host, "--port", str(port)]
    with running(command, {**env, **NO_JOBS}, log) as process:
        address = f"{web_address(host, port)}/health"
        wait_until(lambda: get(address, 2).ok, process, log, failure)
        yield process


def wait_until(
    is_ready: Callable[[], bool], process: "subprocess.Popen[str]", log: IO[str], failure: str
) -> None:
    """Return when a program answers; `is_ready` may raise what requests does.

    Raises MalariaError, which begins with `failure`, when it has ended or takes too long.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            reason = last_error(log) or f"it ended with exit code {process.returncode}"
            raise MalariaError(f"{failure}: {reason}")
        with suppress(requests.RequestException):
            if is_ready():
                return
        time.sleep(0.1)
    raise MalariaError(
        f"{failure}: it has not answered for {START_LIMIT_S} s; try again when the machine has "
        "less to do."
    )


def last_error(log: IO[str]) -> str:
    """Return the last error that a log names, else its last line, '' for an empty one."""
    log.seek(0)
    text = log.read()
    lines = ERROR_LINE.findall(text) or text.splitlines()
    return str(lines[-1]).strip() if lines else ""


def find_port(host: str, wanted: Sequence[int], option: str = "--port") -> int:
    """Return the first of the ports that is free, 0 being any.

    Raises MalariaError where there is none; it names the option that gave a single port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = ""
    for port in wanted:
        try:
            with socket.create_server((host, port), family=family) as found:
                return int(found.getsockname()[1])
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]
    asked = f"{option} {wanted[0]} of {host}" if len(wanted) == 1 else f"--host {host}"
    raise MalariaError(f"{asked} cannot be used ({reason}); give another.")


def web_address(host: str, port: int) -> str:
    """Return where this machine finds a server of its own."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def get(address: str, limit_s: float, **options: object) -> requests.Response:
    """Ask a server of this machine, which no proxy knows."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request("GET", address, timeout=limit_s, **options)  # type: ignore[arg-type]


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
