"""What a team shares, on one machine, for trying; docs/team_server.md has the real setup.

MLflow with users on PostgreSQL, its artifacts proxied to an S3-compatible storage, and a bucket
there for DVC's remote. Everything listens only on loopback. Secrets come from the environment and
go to that of the children, never to a command line or a log.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from database import PASSWORD, RUNS, USERS, database, uri_of
from malaria.core.files import write_file
from malaria.errors import MalariaError
from malaria.tracking.server import (
    HERE,
    find_port,
    get,
    last_error,
    serving,
    sigterm_as_ctrl_c,
    web_address,
)
from storage import MLFLOW, REGION, open_private, storage
from storage import SECRETS as BUCKET_SECRETS

ADMIN = "admin"
ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105 (a variable's name)
SESSIONS = "MLFLOW_FLASK_SERVER_SECRET_KEY"
SECRETS = (ADMIN_PASSWORD, SESSIONS, PASSWORD, *BUCKET_SECRETS.values())
# Everybody with a password may see everything; who made an experiment says who else may write.
# Checking a password takes a third of a second by design, so a checked one is kept for a minute.
USERS_CONFIG = """[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
POLL_S = 0.2

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command("secrets")
def make_secrets(
    file: Annotated[Path, typer.Argument(help="new file, only for you")],
) -> None:
    """Write random secrets for `start` to a file; load it with `set -a; . FILE; set +a`."""
    try:
        with open_private(file) as text:
            text.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in SECRETS)
    except OSError as error:
        raise MalariaError(f"{file} cannot be made ({error.strerror}); give another.") from None
    typer.echo(f"{file} has {', '.join(SECRETS)}")


@app.command()
def start(
    data: Annotated[Path, typer.Argument(help="folder for all data, made if missing")],
    port: Annotated[int, typer.Option(min=1024, max=65535, help="of MLflow")] = 5000,
    storage_port: Annotated[
        int, typer.Option(min=1024, max=65528, help="first of the storage's eight ports")
    ] = 8333,
    database_port: Annotated[
        int, typer.Option(min=1024, max=65535, help="of PostgreSQL (Debian's own has 5432)")
    ] = 5433,
) -> None:
    """Start everything and print its addresses; Ctrl-C stops it, and the data stays."""
    given = _secrets()
    find_port(HERE, [port], "--port")
    find_port(HERE, [database_port], "--database-port")
    folder = data.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in SECRETS and not key.startswith(("AWS_", "MLFLOW_", "PG"))
    }
    bucket_secrets = {bucket: given[name] for bucket, name in BUCKET_SECRETS.items()}
    with sigterm_as_ctrl_c(), ExitStack() as stack:
        enter = stack.enter_context
        try:
            log = enter(_log(folder, "database"))
            users = database(folder / "database", database_port, given[PASSWORD], env, log)
            children = {"PostgreSQL": enter(users)}
            log = enter(_log(folder, "storage"))
            files = storage(folder / "storage", storage_port, bucket_secrets, env, log)
            children["SeaweedFS"] = enter(files)
            log = enter(_log(folder, "mlflow"))
            server = _mlflow(folder, port, storage_port, database_port, given, env, log)
            children["MLflow"] = enter(server)
            typer.echo(
                f"MLflow    {web_address(HERE, port)}  user {ADMIN}, password as in "
                f"{ADMIN_PASSWORD}\nstorage   {web_address(HERE, storage_port)}  buckets "
                f"{', '.join(BUCKET_SECRETS)}\ndatabase  {HERE}:{database_port}  databases {RUNS}, "
                f"{USERS}\nlogs      {folder / 'logs'}\nCtrl-C stops all; the same command starts "
                "again with the same data."
            )
            _watch(children, folder)
        except KeyboardInterrupt:
            typer.echo("stopping", err=True)


@contextmanager
def _mlflow(
    folder: Path,
    port: int,
    storage_port: int,
    database_port: int,
    given: Mapping[str, str],
    env: Mapping[str, str],
    log: IO[str],
) -> Iterator["subprocess.Popen[str]"]:
    """Run MLflow's server, after making its tables or bringing them up to date."""
    config = folder / "basic_auth.ini"
    write_file(config, USERS_CONFIG.format(uri=uri_of(database_port, USERS), admin=ADMIN))
    runs, address = uri_of(database_port, RUNS), web_address(HERE, port)
    env = {
        **env,
        ADMIN_PASSWORD: given[ADMIN_PASSWORD],
        SESSIONS: given[SESSIONS],
        "PGPASSWORD": given[PASSWORD],
        "AWS_ACCESS_KEY_ID": MLFLOW,
        "AWS_SECRET_ACCESS_KEY": given[BUCKET_SECRETS[MLFLOW]],
        "AWS_DEFAULT_REGION": REGION,
        "MLFLOW_S3_ENDPOINT_URL": web_address(HERE, storage_port),
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    options = [
        *("--app-name", "basic-auth", "--backend-store-uri", runs),
        *("--serve-artifacts", "--artifacts-destination", f"s3://{MLFLOW}"),
        *("--allowed-hosts", f"{HERE}:{port},localhost:{port}"),
    ]
    upgrade = [sys.executable, "-P", "-m", "mlflow", "db", "upgrade", runs]
    if subprocess.run(upgrade, env=env, stdout=log, stderr=log, check=False).returncode:
        raise MalariaError(f"MLflow's tables cannot be upgraded: {last_error(log)}")
    with serving(options, HERE, port, env, log, "MLflow did not start") as process:
        # A server's first answer takes seconds, longer than a stage waits.
        search = f"{address}/api/2.0/mlflow/experiments/search"
        get(search, 60, params={"max_results": "1"}, auth=(ADMIN, given[ADMIN_PASSWORD]))
        yield process


def _secrets() -> dict[str, str]:
    given = {name: os.environ.get(name, "") for name in SECRETS}
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise MalariaError(
            f"{', '.join(missing)} must be set in the environment; `uv run python "
            "scripts/team_server.py secrets FILE` makes a file of them to load."
        )
    return given


def _log(folder: Path, name: str) -> IO[str]:
    """Open a new log; the one of the start before is kept."""
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".before.log"))
    return log.open("w+", errors="replace")


def _watch(children: Mapping[str, "subprocess.Popen[str]"], folder: Path) -> None:
    while all(process.poll() is None for process in children.values()):
        time.sleep(POLL_S)
    ended = {name: process.returncode for name, process in children.items()}
    name = next(name for name, code in ended.items() if code is not None)
    typer.echo(
        f"team_server: {name} has ended (exit code {ended[name]}), so all is stopped; see "
        f"{folder / 'logs'}, and start again: nothing is lost.",
        err=True,
    )
    raise typer.Exit(1)


if __name__ == "__main__":
    try:
        app()
    except MalariaError as error:
        typer.echo(f"team_server: {error}", err=True)
        sys.exit(2)
