"""Where a committed result's run is seen in MLflow."""

import os
import sys
from pathlib import Path

from malaria.core.yaml_files import read_yaml
from malaria.paths import LOCK, PARAMS
from malaria.pipeline.identity import identity_of_lock


def run_address(root: Path, folder: str) -> str | None:
    """Return the web address of the experiment that the folder's lock records.

    None if $MLFLOW_TRACKING_URI names no server, and if the server does not answer or has no such
    run; the latter two print a line on stderr, as a missing link is no reason to fail.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")) or not (root / folder / LOCK).is_file():
        return None
    from malaria.tracking import address, store  # here, because MLflow takes seconds to import

    experiment = read_yaml(root / folder / PARAMS)["mlflow"]["experiment"]
    try:
        found = store.find_address(uri, experiment, identity_of_lock(root / folder))
    except Exception as error:  # whatever the client raises
        reason = address.reason_of(error)
        print(f"gate: no link to MLflow, as it did not answer ({reason})", file=sys.stderr)
        return None
    if found is None:
        print(f"gate: no link to MLflow, as it has no run of {folder}/{LOCK}", file=sys.stderr)
    return found
