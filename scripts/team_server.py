"""What a team shares, on one machine, for trying: docs/team_server.md tells it for real.

MLflow with users on PostgreSQL, its artifacts proxied to an S3-compatible storage, and a bucket
there for DVC's remote. All listens on loopback alone. Secrets come from the environment and go to
the children's, never to a command line or a log.
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
from filelock import FileLock, Timeout

from database import PASSWORD, RUNS, USERS, database, uri_of
from malaria.child import HERE, find_port, get, last_error, serving, sigterm_as_ctrl_c, web_address
from malaria.errors import MalariaError
from storage import MLFLOW, REGION, storage
from storage import SECRETS as BUCKET_SECRETS

ADMIN = "admin"
ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105 (a variable's name)
SESSIONS = "MLFLOW_FLASK_SERVER_SECRET_KEY"
SECRETS = (ADMIN_PASSWORD, SESSIONS, PASSWORD, *BUCKET_SECRETS.values())
# Whoever has a password may look at everything; who made an experiment says who else may write.
# Each call checks the password, which is slow by design: a third of a second where none is kept.
USERS_CONFIG = """[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
LOOK_EVERY_S = 0.2

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command("secrets")
def make_secrets(file: Annotated[Path, typer.Argument(help="a new file, readable by you")]) -> None:
    """Write random secrets for `start` to a file; load it with `set -a; . FILE; set +a`."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise MalariaError(f"{file} cannot be made ({error.strerror}); give another.") from None
    with os.fdopen(opened, "w") as text:
        text.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in SECRETS)
    typer.echo(f"{file} has {', '.join(SECRETS)}")


@app.command()
def start(
    data: Annotated[Path, typer.Argument(help="folder for all data, made if it is not there")],
    port: Annotated[int, typer.Option(min=1024, max=65535, help="of MLflow")] = 5000,
    storage_port: Annotated[
        int, typer.Option(min=1024, max=65528, help="of the storage, which takes seven more")
    ] = 8333,
    database_port: Annotated[
        int, typer.Option(min=1024, max=65535, help="of PostgreSQL (Debian's own has 5432)")
    ] = 5433,
) -> None:
    """Start all of it and print where it is; Ctrl-C stops it, the same command goes on with it."""
    given = _secrets()
    find_port(HERE, [port], "--port")
    find_port(HERE, [database_port], "--database-port")
    folder = data.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with sigterm_as_ctrl_c(), _alone(folder), ExitStack() as stack:
        env = {
            key: value
            for key, value in os.environ.items()
            if key not in SECRETS and not key.startswith(("AWS_", "MLFLOW_", "PG"))
        }
        try:
            children = {
                "PostgreSQL": stack.enter_context(
                    database(
                        folder / "database",
                        database_port,
                        given[PASSWORD],
                        env,
                        stack.enter_context(_log(folder, "database")),
                    )
                ),
                "SeaweedFS": stack.enter_context(
                    storage(
                        folder / "storage",
                        storage_port,
                        {bucket: given[name] for bucket, name in BUCKET_SECRETS.items()},
                        env,
                        stack.enter_context(_log(folder, "storage")),
                    )
                ),
            }
            children["MLflow"] = stack.enter_context(
                _mlflow(folder, port, storage_port, database_port, given, env)
            )
            _tell(folder, port, storage_port, database_port)
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
) -> Iterator["subprocess.Popen[str]"]:
    """Run MLflow's server after its tables were made or brought up to date."""
    config = folder / "basic_auth.ini"
    config.write_text(USERS_CONFIG.format(uri=uri_of(database_port, USERS), admin=ADMIN))
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
    with _log(folder, "mlflow") as log:
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", runs]
        if subprocess.run(upgrade, env=env, stdout=log, stderr=log, check=False).returncode:
            raise MalariaError(f"MLflow's tables cannot be upgraded: {last_error(log)}")
        with serving(options, HERE, port, env, log, "MLflow did not start") as process:
            # A server's first answer takes seconds, more than a stage waits.
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise MalariaError(f"another team server runs on {folder}; stop it first.") from None


def _log(folder: Path, name: str) -> IO[str]:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{name}.log"
    if log.exists():
        log.replace(logs / f"{name}.before.log")
    return log.open("w+", errors="replace")


def _tell(folder: Path, port: int, storage_port: int, database_port: int) -> None:
    typer.echo(
        f"""MLflow    {web_address(HERE, port)}  user {ADMIN}, password as in {ADMIN_PASSWORD}
storage   {web_address(HERE, storage_port)}  buckets {", ".join(BUCKET_SECRETS)}
database  {HERE}:{database_port}  databases {RUNS}, {USERS}
logs      {folder / "logs"}
Set where somebody trains:
  MLFLOW_TRACKING_URI={web_address(HERE, port)}
  MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD  of a user
  AWS_ACCESS_KEY_ID=dvc, AWS_SECRET_ACCESS_KEY  as in {BUCKET_SECRETS["dvc"]}
Ctrl-C stops all; the same command goes on with the same data."""
    )


def _watch(children: Mapping[str, "subprocess.Popen[str]"], folder: Path) -> None:
    while True:
        for name, process in children.items():
            if process.poll() is not None:
                typer.echo(
                    f"team_server: {name} has ended (exit code {process.returncode}), so all is "
                    f"stopped; see {folder / 'logs'}, and start again: nothing is lost.",
                    err=True,
                )
                raise typer.Exit(1)
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    try:
        app()
    except MalariaError as error:
        typer.echo(f"team_server: {error}", err=True)
        sys.exit(2)
