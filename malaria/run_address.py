"""Where a committed result's run is seen in MLflow."""

import os
import sys
from pathlib import Path

from malaria.params.base import PARAMS, read_yaml
from malaria.params.study import REPO
from malaria.pipeline import LOCK, identity_of_lock


def run_address(root: Path, folder: str) -> str | None:
    """Return the web address of the experiment that the folder's lock records.

    None where $MLFLOW_TRACKING_URI names no server, or the server does not answer or has no such
    run; the latter two cost a line on stderr, as a link is no reason to fail.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")) or not (root / folder / LOCK).is_file():
        return None
    from malaria import store  # here, because MLflow takes seconds to import

    params = read_yaml(root / folder / PARAMS)
    identity = identity_of_lock(root / folder, params[REPO])
    try:
        found = store.find_address(uri, params["mlflow"]["experiment"], identity)
    except Exception as error:  # whatever the client raises
        reason = store.CREDENTIALS.sub("//", " ".join(str(error).split())[:300])
        print(f"gate: no link to MLflow, as it did not answer ({reason})", file=sys.stderr)
        return None
    if found is None:
        print(f"gate: no link to MLflow, as it has no run of {folder}/{LOCK}", file=sys.stderr)
    return found
