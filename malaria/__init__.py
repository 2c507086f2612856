"""Trained, honestly evaluated, comparable classifiers of the NIH malaria cell images.

Sets what TensorFlow, Keras and MLflow read from the environment when they are imported: this file
runs before any other of the package, however a module sorts its imports.
"""

import os

from malaria.core import environment

MLFLOW_CALL_LIMIT_S = 5

_DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(MLFLOW_CALL_LIMIT_S),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what it logs is raised too, and said in one sentence
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # of runs on a server
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one for each small file
    "MLFLOW_UV_AUTO_DETECT": "false",  # no copy of uv.lock with each model
}
environment.fix()
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
os.environ.pop("MLFLOW_RUN_ID", None)  # every start_run would continue that run
