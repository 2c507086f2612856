"""Where the MLflow store is, and how its address is shown."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import make_url

from malaria import MLFLOW_CALL_LIMIT_S
from malaria.core.addresses import shown
from malaria.errors import MalariaError

TRACKING_URI = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
SQLITE_FILE = re.compile(r"sqlite(?:\+\w+)?:///(?P<file>[^?]+)(?P<options>\?.*)?", re.DOTALL)
EXAMPLE = "write sqlite:///mlflow.db, which counts from the repository's root, or an absolute path"


def tracking_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite store at the repository's root.

    A relative sqlite file counts from `root`, wherever a stage runs. Raises MalariaError for an
    sqlite address that names no file, and for a file that none can name.
    """
    given = os.environ.get(TRACKING_URI, "")
    if not given:
        return _sqlite_uri(root / "mlflow.db")
    if not given.startswith(("sqlite:", "sqlite+")):
        try:
            urlsplit(given)
        except ValueError:
            told = shown(given, given)
            raise MalariaError(
                f"{TRACKING_URI} is {told!r}, which is no address; correct it."
            ) from None
        return given
    parts = SQLITE_FILE.fullmatch(given)
    database = make_url(given).database if parts else None
    if parts is None or not database or database.startswith((":", "file:")):
        told = shown(given, given)
        raise MalariaError(f"{TRACKING_URI} is {told!r}, which names no file; {EXAMPLE}.")
    return _sqlite_uri(root / database) + (parts["options"] or "")


def shown_uri(root: Path) -> str:
    """Return the store's address without its secrets, as far as there is one."""
    try:
        uri = tracking_uri(root)
        return shown(uri, uri)
    except MalariaError:
        given = os.environ.get(TRACKING_URI, "")
        return shown(given, given) or f"{SQLITE}{root / 'mlflow.db'}"


def reason_of(error: object) -> str:
    """Return what a library says of the store, on one line and without the store's secrets."""
    return shown(" ".join(str(error).split()), os.environ.get(TRACKING_URI, ""))[:300]


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a store that is one; raises MalariaError for a folder in its place."""
    parts = SQLITE_FILE.fullmatch(uri)
    file = Path(parts["file"]) if parts else None
    if file is not None and file.is_dir():  # a container's bind mount makes one
        raise MalariaError(
            f"the MLflow store {file} is a folder; move it away, and `uv run malaria sync` makes "
            "the store."
        )
    return file


def existing_file(uri: str) -> Path | None:
    """Return the file of a store that is one; raises MalariaError where there is none yet."""
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise MalariaError(
            f"there is no MLflow store at {file} yet; make it from Git and DVC's cache with "
            "`uv run malaria sync`."
        )
    return file


def limited(uri: str) -> str:
    """Return the address of a PostgreSQL database with limits on what a call to it may take.

    They are those of a call to a server; one that does not answer would hold a stage for minutes.
    """
    if not uri.startswith("postgres"):
        return uri
    url = make_url(uri)
    limit_ms = int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) * 1000
    wanted = {
        "connect_timeout": str(MLFLOW_CALL_LIMIT_S),
        "tcp_user_timeout": str(limit_ms),
        "options": f"-c statement_timeout={limit_ms}",
    }
    new = {key: value for key, value in wanted.items() if key not in url.query}
    return url.update_query_dict(new).render_as_string(hide_password=False)


def _sqlite_uri(file: Path) -> str:
    uri = f"{SQLITE}{file}"
    if make_url(uri).database != str(file):
        raise MalariaError(
            f"the MLflow store cannot be {file}, as an address has another meaning for % and ?; "
            f"rename that folder, or set {TRACKING_URI} to a file elsewhere, as in "
            "sqlite:////srv/malaria/mlflow.db."
        )
    return uri
