"""PostgreSQL in a folder of its own: MLflow's two databases, reached by TCP and password."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from signal import SIGINT
from subprocess import Popen, call, run
from typing import IO, Any

from malaria.errors import MalariaError
from malaria.tracking.server import HERE, last_error, running, wait_until

ROLE = "mlflow"
# Runs and users are apart, because MLflow upgrades the tables of each by itself.
RUNS, USERS = "mlflow", "mlflow_auth"
PASSWORD = "TEAM_DATABASE_PASSWORD"  # noqa: S105 (a variable's name)
DEBIAN = Path("/usr/lib/postgresql")
OWNER = "postgres"  # the user who runs it for root, whom PostgreSQL refuses
# psql reads the password from the environment, so no command line has it.
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
) -> Iterator["Popen[str]"]:
    """Run PostgreSQL on loopback; the role gets `password`, whatever it had before.

    Raises MalariaError if it is not installed or does not start.
    """
    programs = find_programs()
    user = OWNER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as sockets:  # a socket's path may have 107 characters
        folder.mkdir(exist_ok=True)
        if user:
            shutil.chown(folder, user, user)
            shutil.chown(sockets, user, user)
        if not (folder / "PG_VERSION").is_file():
            options = ["--auth-local=peer", "--auth-host=scram-sha-256", "--encoding=UTF8"]
            command = [programs / "initdb", "-D", folder, *options, "--locale=C"]
            _run(command, user, f"PostgreSQL cannot use {folder}", env=env)
        command = [programs / "postgres", "-D", folder, "-p", port, "-k", sockets]
        command += ["-c", f"listen_addresses={HERE}"]
        at = ["-h", sockets, "-p", str(port)]
        ask = [str(programs / "pg_isready"), "-q", *at]
        with running([str(part) for part in command], env, log, SIGINT, user) as process:
            wait_until(lambda: not call(ask, env=env), process, log, "PostgreSQL did not start")
            psql = [programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", "postgres", *at]
            secret = {**env, PASSWORD: password}
            _run(psql, user, "the databases cannot be made", env=secret, input=SETUP)
            yield process


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs: Debian's newest, else that on the PATH."""
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    searched = [*map(str, folders), os.environ.get("PATH", "")]
    found = shutil.which("postgres", path=os.pathsep.join(searched))
    if found is None:
        raise MalariaError(
            "postgresql is not installed; install it with `apt-get install postgresql`, or put its "
            "programs (postgres, initdb, psql) on the PATH."
        )
    return Path(found).parent


def _run(command: Sequence[object], user: str | None, failure: str, **options: Any) -> None:
    """Run a program as a user; raises MalariaError, which begins with `failure`."""
    result = run(
        [str(part) for part in command],
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    if result.returncode:
        raise MalariaError(f"{failure}: {last_error(StringIO(result.stdout + result.stderr))}")
