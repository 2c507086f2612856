"""MLflow's web interface for this repository's store."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from malaria.core.addresses import shown
from malaria.errors import MalariaError
from malaria.tracking.address import existing_file, shown_uri, tracking_uri
from malaria.tracking.server import (
    START_LIMIT_S,
    find_port,
    get,
    serving,
    sigterm_as_ctrl_c,
    web_address,
)
from malaria.tracking.store import DEFAULT, VIEW, VIEW_TAG, answering, connect, make_ready

PORT = 5000  # MLflow's own
LOOPBACK = ("127.", "localhost", "::1")
# MLflow opens as a tool for chats and their traces; this page is that of trainings.
RUNS_PAGE = "/#/experiments/{id}/runs?workflowType=machine_learning"
SAVED_VIEW = f"&viewStateShareKey={VIEW}"


def show(
    root: Path,
    host: str,
    port: int | None,
    print_line: Callable[[str], object],
    tell: Callable[[str], object],
) -> None:
    """Serve the interface of the repository's store until Ctrl-C or SIGTERM.

    `print_line` gets the web addresses once it answers, `tell` what else a user should know.
    Without a port it is MLflow's own or, where that is taken, a free one. Where
    MLFLOW_TRACKING_URI is a server, its address is all: it has an interface. Raises MalariaError
    for a store that is not there or cannot be opened, and for an address that cannot be used.
    """
    uri = tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        tell("MLFLOW_TRACKING_URI is a server with an interface of its own:")
        print_line(shown(uri.rstrip("/"), uri))
        return
    if not host.startswith(LOOPBACK):
        tell(f"whoever reaches {host} can read, change and delete runs; there is no password.")
    file = existing_file(uri)
    if file is None:  # MLflow's server would try for minutes
        with answering(root):
            connect(uri).search_experiments(max_results=1)
    with suppress(sqlite3.Error):  # the server says what is wrong with it
        make_ready(uri, root)
    folder = root if file is None else file.absolute().parent
    chosen = find_port(host, [PORT, 0] if port is None else [port])
    address = web_address(host, chosen)
    # For what the interface itself makes; experiments of stages have their own place.
    options = ("--artifacts-destination", str(folder / "mlartifacts"))
    # The address of a database can hold a password, which a command line would show.
    env = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_LOGGING_LEVEL": "ERROR"}
    failure = f"{shown_uri(root)} cannot be shown"
    with sigterm_as_ctrl_c(), tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            with serving(options, host, chosen, env, log, failure) as process:
                print_line(address)
                for name, page in _pages(address):
                    print_line(f"{name}  {page}")
                tell("Ctrl-C ends it.")
                code = process.wait()
        except KeyboardInterrupt:
            return
        except MalariaError as error:
            raise MalariaError(shown(str(error), uri)) from None
    raise MalariaError(f"MLflow has ended with exit code {code}; start it again.")


def _pages(address: str) -> Iterator[tuple[str, str]]:
    """Give each experiment's name and the address of its runs, one row an experiment of DVC."""
    asked = f"{address}/api/2.0/mlflow/experiments/search"
    answer = get(asked, START_LIMIT_S, params={"max_results": "100"})
    answer.raise_for_status()
    for experiment in answer.json().get("experiments", []):
        if experiment["experiment_id"] != DEFAULT:
            page = address + RUNS_PAGE.format(id=experiment["experiment_id"])
            has_view = any(tag["key"] == VIEW_TAG for tag in experiment.get("tags", []))
            yield experiment["name"], page + (SAVED_VIEW if has_view else "")
