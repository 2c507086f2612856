"""The team's server as a user starts it, with planted secrets that tests search for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import psutil
import pytest

from malaria.tracking.server import HERE, find_port

from .conftest import REPO

PLANTED = token_hex(8)  # drawn, as this file lies in the checkout that is searched
SECRETS = {
    "MLFLOW_AUTH_ADMIN_PASSWORD": f"admin-{PLANTED}",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": f"session-{PLANTED}",
    "TEAM_DATABASE_PASSWORD": f"data'ba%se-{PLANTED}",
    "TEAM_MLFLOW_S3_SECRET": f"mlflow-bucket-{PLANTED}",
    "TEAM_DVC_S3_SECRET": f"dvc-bucket-{PLANTED}",
}
USERS = {"ada": f"ada-{PLANTED}", "bob": f"bob-{PLANTED}"}
LIMIT_S = 300


class Team:
    """The script on one data folder, started and stopped as a user would."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self._logs = logs
        self.port, self.database = find_port(HERE, [0]), find_port(HERE, [0])
        self.storage = next(port for port in range(20000, 60000, 8) if _are_free(port))
        self.address = f"http://{HERE}:{self.port}"
        self.process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What it has printed since it was started first."""
        return self._logs.read_text()

    def start(self) -> None:
        before = self.output.count("Ctrl-C stops all") if self._logs.exists() else 0
        with self._logs.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-u", "scripts/team_server.py", "start", str(self.folder)),
                    *("--port", str(self.port), "--storage-port", str(self.storage)),
                    *("--database-port", str(self.database)),
                ],
                cwd=REPO,
                env=os.environ | SECRETS,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + LIMIT_S
        while self.output.count("Ctrl-C stops all") == before:
            if self.process.poll() is not None:
                if " is not installed" in self.output:
                    pytest.skip(self.output)
                pytest.fail(self.output)
            assert time.monotonic() < deadline, self.output
            time.sleep(0.2)

    def kill_mlflow(self) -> int:
        """Kill MLflow with all its processes and return the exit code of the script."""
        children = psutil.Process(self.process.pid).children()
        (mlflow,) = [child for child in children if "mlflow" in child.cmdline()]
        os.killpg(mlflow.pid, signal.SIGKILL)
        return self.process.wait(LIMIT_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def as_user(self, name: str) -> dict[str, str]:
        """Return the environment of somebody who trains."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": USERS[name],
            "AWS_ACCESS_KEY_ID": "dvc",
            "AWS_SECRET_ACCESS_KEY": SECRETS["TEAM_DVC_S3_SECRET"],
        }

    def s3(self, user: str) -> Any:
        """Return a client of the storage."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{HERE}:{self.storage}",
            region_name="us-east-1",
            aws_access_key_id=user,
            aws_secret_access_key=SECRETS[f"TEAM_{user.upper()}_S3_SECRET"],
        )


def _are_free(first: int) -> bool:
    try:
        return all(find_port(HERE, [port]) for port in range(first, first + 8))
    except Exception:
        return False


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        yield " ".join(process.info["cmdline"] or [])


def has_secret(content: bytes) -> bool:
    """Return whether any of the secrets stands there: they all end alike."""
    return PLANTED.encode() in content


def dump(team: Team, database: str) -> bytes:
    program = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), default="pg_dump")
    command = [str(program), "-h", HERE, "-p", str(team.database), "-U", "mlflow", database]
    env = os.environ | {"PGPASSWORD": SECRETS["TEAM_DATABASE_PASSWORD"]}
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout
