"""Imported before MLflow, which reads these at its import: what a call may cost, and what it says.

A module of its own, so that tools that sort imports leave it at the top.
"""

import os

CALL_LIMIT_S = 5
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(CALL_LIMIT_S))
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # its warnings are not the user's to mend
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of runs on a server
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each small file
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # no copy of uv.lock beside each model
os.environ.pop("MLFLOW_RUN_ID", None)  # would make every start_run continue that run
