"""Where a committed result's run is seen in MLflow."""

import os
import sys
from pathlib import Path

from malaria.paths import LOCK, PARAMS
from malaria.pipeline.git import find_yaml
from malaria.pipeline.identity import identity_in
from malaria.pipeline.stages import place


def run_address(root: Path, folder: str, head: str | None = None) -> str | None:
    """Return the web address of the experiment that the folder's lock records at a revision.

    `head` is None for the work tree. None if $MLFLOW_TRACKING_URI names no server, and if the
    server does not answer or has no such run; the latter two print a line on stderr, as a missing
    link is no reason to fail.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        return None
    lock, params = (find_yaml(root, head, place(folder, file)) for file in (LOCK, PARAMS))
    if lock is None or params is None:
        return None
    from malaria.tracking import address, store  # here, because MLflow takes seconds to import

    try:
        found = store.find_address(uri, params["mlflow"]["experiment"], identity_in(lock))
    except Exception as error:  # whatever the client raises
        reason = address.reason_of(error)
        print(f"gate: no link to MLflow, as it did not answer ({reason})", file=sys.stderr)
        return None
    if found is None:
        print(f"gate: no link to MLflow, as it has no run of {folder}/{LOCK}", file=sys.stderr)
    return found
