"""PostgreSQL in a folder of its own: MLflow's two databases, reached by TCP and password."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import geteuid
from pathlib import Path
from signal import SIGINT
from typing import IO

from malaria.child import HERE, last_error, running, wait_until
from malaria.errors import MalariaError

ROLE = "mlflow"
# Runs and users apart, as an upgrade of MLflow changes the tables of each by itself.
RUNS, USERS = "mlflow", "mlflow_auth"
PASSWORD = "TEAM_DATABASE_PASSWORD"  # noqa: S105 (a variable's name)
DEBIAN = Path("/usr/lib/postgresql")
OWNER = "postgres"  # who runs it, as it refuses root
# psql reads the password from the environment: it is on no command line.
SETUP = rf"""
\getenv password {PASSWORD}
SELECT 'CREATE ROLE {ROLE} LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}')
\gexec
ALTER ROLE {ROLE} PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER {ROLE}', name)
FROM unnest(ARRAY['{RUNS}', '{USERS}']) name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec
"""  # noqa: S608 (of constants)


def uri_of(port: int, database: str) -> str:
    """Return a database's address without password, which libpq takes from PGPASSWORD."""
    return f"postgresql+psycopg://{ROLE}@{HERE}:{port}/{database}"


@contextmanager
def database(
    folder: Path, port: int, password: str, env: Mapping[str, str], log: IO[str]
) -> Iterator["subprocess.Popen[str]"]:
    """Run PostgreSQL on loopback; the role has `password`, whichever it had before.

    Raises MalariaError where it is not installed or does not start.
    """
    programs = find_programs()
    user = OWNER if geteuid() == 0 else None
    if not (folder / "PG_VERSION").is_file():
        folder.mkdir(exist_ok=True)
        if user:
            shutil.chown(folder, user, user)
        options = ["--auth-local=peer", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        command = [programs / "initdb", "-D", folder, *options, "--locale=C"]
        _run(command, user, env, f"PostgreSQL cannot use {folder}")
    with tempfile.TemporaryDirectory() as sockets:  # a socket's path may have 107 characters
        if user:
            shutil.chown(sockets, user, user)
        command = [programs / "postgres", "-D", folder, "-p", str(port), "-k", sockets]
        command += ["-c", f"listen_addresses={HERE}"]
        at = ["-h", sockets, "-p", str(port)]
        ask = [str(programs / "pg_isready"), "-q", *at]
        with running([str(part) for part in command], env, log, SIGINT, user) as process:
            wait_until(
                lambda: subprocess.run(ask, env=env, check=False).returncode == 0,
                process,
                log,
                "PostgreSQL did not start",
            )
            psql = [programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", "postgres", *at]
            _run(psql, user, {**env, PASSWORD: password}, "the databases cannot be made", SETUP)
            yield process


def find_programs() -> Path:
    """Return the folder of PostgreSQL's newest programs."""
    found = [path.parent for path in DEBIAN.glob("*/bin/postgres")]
    beside = shutil.which("postgres")
    if not (found or beside):
        raise MalariaError(
            "postgresql is not installed; install it with `apt-get install postgresql`, or put its "
            "programs (postgres, initdb, psql) on the PATH."
        )
    return (
        max(found, key=lambda path: int(path.parent.name)) if found else Path(beside or "").parent
    )


def _run(
    command: Sequence[object],
    user: str | None,
    env: Mapping[str, str],
    failure: str,
    text: str = "",
) -> None:
    with tempfile.TemporaryFile("w+") as log:
        result = subprocess.run(
            [str(part) for part in command],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            env=env,
            cwd="/",
            input=text,
            stdout=log,
            stderr=log,
            text=True,
            check=False,
        )
        if result.returncode:
            raise MalariaError(f"{failure}: {last_error(log)}")
