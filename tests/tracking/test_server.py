"""Servers that a command starts do not outlive it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import requests

from malaria.tracking.server import HERE, find_port, get
from tests.conftest import REPO

SERVER = """
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
HTTPServer(("127.0.0.1", int(sys.argv[1])), BaseHTTPRequestHandler).serve_forever()
"""
# Starts the server as a child of its own, as MLflow's does.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
COMMAND = """
import os, sys, time
from malaria.tracking.server import running
with running(sys.argv[1:], os.environ, sys.stderr):
    time.sleep(600)
"""


def answers(port: int) -> bool:
    with suppress(requests.RequestException):
        get(f"http://{HERE}:{port}", 2)
        return True
    return False


def wait_until_it(answers_is: bool, port: int) -> None:
    deadline = time.monotonic() + 60
    while answers(port) is not answers_is:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["ordinary", pytest.param("deaf", marks=pytest.mark.slow)])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_the_command_that_started_it(end: signal.Signals, kind: str) -> None:
    port = find_port(HERE, [0])
    server = [sys.executable, "-c", PARENT, SERVER, str(port), kind]
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *server],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A shell's job in the background, as the tests may be one, starts with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until_it(True, port)
    command.send_signal(end)
    command.wait(timeout=60)
    wait_until_it(False, port)
    assert find_port(HERE, [port]) == port
