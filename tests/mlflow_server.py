"""A real MLflow server on sqlite, for the tests that want one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from malaria.tracking.server import HERE, find_port, get, serving, web_address


@contextmanager
def mlflow_server(folder: Path, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Give address and process of a server whose store lies in `folder`; it ends with this."""
    port = find_port(HERE, [port])
    options = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    options += ["--artifacts-destination", str(folder / "artifacts")]
    address = web_address(HERE, port)
    with (
        (folder / "server.log").open("w+") as log,
        serving(options, HERE, port, os.environ, log, "MLflow") as process,
    ):
        # A server's first answer takes seconds, more than a stage waits.
        search = f"{address}/api/2.0/mlflow/experiments/search"
        get(search, 120, params={"max_results": "1"}).raise_for_status()
        yield address, process
