"""A stage's run in MLflow: the only module that knows MLflow.

Nothing here can fail a stage: the first call that the store does not answer ends the
logging with a warning, and the stage goes on.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

CALL_LIMIT_S = 5
UPLOAD_LIMIT_S = 60
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(CALL_LIMIT_S))
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # its warnings are not the user's to mend
os.environ.pop("MLFLOW_RUN_ID", None)  # would make every start_run continue that run

import mlflow  # noqa: E402 (reads the variables above)
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

IDENTITY = "malaria.identity"
STAGE = "malaria.stage"
ERROR = "malaria.error"
EXPERIMENT_ROW = "experiment"  # the stage tag of a parent run
OPENS_AS = {"mlflow.experimentKind": "custom_model_development"}  # not as traces of a chat
LARGEST_ARTIFACT = 5_000_000  # bytes; larger outputs are DVC's alone
MODEL_SUFFIX = ".keras"  # logged as a model, not as a file
LOCK_LIMIT_S = 60
CREDENTIALS = re.compile(r"//[^/@\s]+@")  # user and password in an address


@dataclass(frozen=True)
class Context:
    """What a run says of the stage and of the pipeline that it belongs to."""

    stage: str
    folder: str  # of the pipeline, relative to the repository: '.', 'demo', 'pilot'
    root: Path  # the main repository, also from a temporary checkout
    experiment: str
    identity: str
    params: Mapping[str, Any]  # flattened, of all stages
    stage_params: Mapping[str, Any]  # flattened, of this stage
    code: Mapping[str, str]  # md5 by path in the repository
    data: Mapping[str, str]  # md5 by path in the repository, of what other stages made
    key: str  # of all that defines what the stage does: params, code, data, versions
    checkpoints: Path  # the folder for a training's
    commit: str
    dirty: bool
    dvc_experiment: str | None
    title: str
    continues: str  # a run that was killed and goes on; '' for a new one


class StageRun:
    """The run of one stage, below the parent run of its experiment."""

    def __init__(self, context: Context, is_on: bool = True) -> None:
        """`is_on` is False in a process that helps another, which logs for both."""
        self.context = context
        self._is_on = is_on
        self._client: MlflowClient
        self._run_id = ""
        self._parent_id = ""
        self._last_epoch = 0  # that was logged before the run was killed
        self._attempt(self._open)

    @property
    def run_id(self) -> str:
        """The run's id; '' where nothing is logged."""
        return self._run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log what the stage derived from its params."""
        self._attempt(lambda: self._client.log_batch(self._run_id, params=_params(values)))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of the stage; call it every epoch with the epoch as `step`."""
        if 0 < step <= self._last_epoch:
            return
        self._attempt(lambda: self._client.log_batch(self._run_id, _metrics(values, step)))

    def headline(self, values: Mapping[str, float]) -> None:
        """Log the experiment's final metrics, on the stage's run and on the parent's row."""
        batch = _metrics(values, step=0)
        self._attempt(lambda: self._client.log_batch(self._run_id, batch))
        self._attempt(lambda: self._client.log_batch(self._parent_id, batch))

    def tables(self, tables: Mapping[str, "pd.DataFrame"]) -> None:
        """Log tables that the UI shows and compares as such."""
        self._attempt(lambda: self._log_tables(tables), UPLOAD_LIMIT_S)

    def model(self, model: "keras.Model", example: "np.ndarray") -> None:
        """Log a model with its signature; `example` is uint8 (1, S, S, 3) RGB."""
        self._attempt(lambda: self._log_model(model, example), UPLOAD_LIMIT_S)

    def finish(self, outs: Mapping[str, Path], hashes: Mapping[str, str]) -> None:
        """Close the run as FINISHED, with the outputs' md5s and the small outputs themselves.

        Both mappings have the path in the repository as key.
        """
        self._attempt(lambda: self._log_outs(outs, hashes), UPLOAD_LIMIT_S)
        self._attempt(lambda: self._close("FINISHED"))

    def fail(self, reason: str, details: str, status: str = "FAILED") -> None:
        """Close the run as FAILED (or KILLED) with the reason and the traceback."""
        self._attempt(lambda: self._client.set_tag(self._run_id, ERROR, reason[:5000]))
        self._attempt(
            lambda: self._client.log_text(self._run_id, details, "traceback.txt"), UPLOAD_LIMIT_S
        )
        self._attempt(lambda: self._close(status))

    def _attempt(self, call: Callable[[], object], limit_s: int | None = None) -> None:
        if not self._is_on:
            return
        try:
            with _http_limit(limit_s):
                call()
        except Exception as error:
            self._is_on = False
            reason = " ".join(str(error).split())[:300]
            sentence = (
                f"mlflow: {tracking_uri(self.context.root)} failed ({reason}); "
                f"{self.context.stage} goes on and logs nothing more."
            )
            print(CREDENTIALS.sub("//", sentence), file=sys.stderr)

    def _open(self) -> None:
        context = self.context
        self._client, experiment_id = open_store(context.root, context.experiment)
        self._parent_id = find_row(
            self._client, experiment_id, context.identity
        ) or self._make_parent(experiment_id)
        self._client.update_run(self._parent_id, status="RUNNING")
        tags = self._common_tags() | {
            STAGE: context.stage,
            "mlflow.parentRunId": self._parent_id,
            "mlflow.source.name": f"stages/{context.stage}.py",
            **{f"dep.{path}": hash_ for path, hash_ in {**context.code, **context.data}.items()},
        }
        if context.continues and self._continue(context.continues):
            return
        run = self._client.create_run(experiment_id, run_name=context.stage, tags=tags)
        self._run_id = run.info.run_id
        self._client.log_batch(self._run_id, params=_params(context.stage_params))
        self._client.log_inputs(self._run_id, [_dataset(*item) for item in context.data.items()])

    def _continue(self, run_id: str) -> bool:
        """Go on with a run that was killed, if the store still has it."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False
        if run.info.lifecycle_stage != "active":
            return False
        self._client.update_run(run_id, status="RUNNING")
        if ERROR in run.data.tags:
            self._client.delete_tag(run_id, ERROR)
        self._run_id = run_id
        self._last_epoch = int(run.data.metrics.get("epoch", 0))
        return True

    def _make_parent(self, experiment_id: str) -> str:
        tags = self._common_tags() | {STAGE: EXPERIMENT_ROW, "mlflow.source.name": "dvc.yaml"}
        run = self._client.create_run(experiment_id, run_name=self.context.title, tags=tags)
        self._client.log_batch(run.info.run_id, params=_params(self.context.params))
        return str(run.info.run_id)

    def _common_tags(self) -> dict[str, str]:
        context = self.context
        tags = {
            IDENTITY: context.identity,
            "malaria.folder": context.folder,
            "malaria.dirty": str(context.dirty).lower(),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": context.commit,
        }
        if context.dvc_experiment:
            tags["dvc.experiment"] = context.dvc_experiment
        return tags

    def _log_model(self, model: "keras.Model", example: "np.ndarray") -> None:
        import keras
        import mlflow.tensorflow  # mlflow.keras cannot write an input example (3.17.2)
        from mlflow.models import infer_signature

        keras.config.disable_interactive_logging()

        with mlflow.start_run(run_id=self._run_id):
            mlflow.tensorflow.log_model(
                model,
                name="model",
                signature=infer_signature(example, model.predict(example, verbose=0)),
                input_example=example,
                # Given, because inferring them loads the model in another process: 18 s.
                pip_requirements=[f"{name}=={version(name)}" for name in ("keras", "tensorflow")],
            )

    def _log_tables(self, tables: Mapping[str, "pd.DataFrame"]) -> None:
        for name, table in tables.items():
            self._client.log_table(self._run_id, table, f"tables/{name}.json")

    def _log_outs(self, outs: Mapping[str, Path], hashes: Mapping[str, str]) -> None:
        tags = [RunTag(f"out.{path}", hash_) for path, hash_ in hashes.items()]
        self._client.log_batch(self._run_id, tags=tags)
        for path in outs.values():
            if path.suffix != MODEL_SUFFIX and path.stat().st_size <= LARGEST_ARTIFACT:
                self._client.log_artifact(self._run_id, str(path))

    def _close(self, status: str) -> None:
        for run_id in (self._run_id, self._parent_id):
            self._client.set_terminated(run_id, status)


def tracking_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite store at the repository's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def find_row(client: MlflowClient, experiment_id: str, identity: str) -> str | None:
    """Return the id of the parent run, the experiment's row in the UI, None where there is none."""
    found = client.search_runs(
        [experiment_id],
        f"tags.`{IDENTITY}` = '{identity}' and tags.`{STAGE}` = '{EXPERIMENT_ROW}'",
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def find_address(uri: str, experiment: str, identity: str) -> str | None:
    """Return the web address of an experiment's row on a server, None where it has no such row.

    Makes nothing there. Raises whatever MLflow's client does.
    """
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    row = find_row(client, known.experiment_id, identity) if known else None
    if known is None or row is None:
        return None
    place = CREDENTIALS.sub("//", uri.rstrip("/"))
    return f"{place}/#/experiments/{known.experiment_id}/runs/{row}"


def open_store(root: Path, experiment: str) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment, both made at first use.

    Processes that make the same sqlite store at once would break it, so they take turns.
    """
    uri = tracking_uri(root)
    mlflow.set_tracking_uri(uri)
    with _turns(uri):
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        # The location is fixed at the first use: beside a local store, else the server's own.
        location = (
            (root / "mlartifacts" / experiment).as_uri() if uri.startswith("sqlite") else None
        )
        try:
            return client, client.create_experiment(experiment, location, OPENS_AS)
        except MlflowException:
            found = client.get_experiment_by_name(experiment)  # another client was first
            if found is None:
                raise
            return client, found.experiment_id


@contextmanager
def _turns(uri: str) -> Iterator[None]:
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_LIMIT_S):
        yield


@contextmanager
def _http_limit(limit_s: int | None) -> Iterator[None]:
    """Give uploads longer than other calls: a server may answer only when it has stored all."""
    if limit_s is None:
        yield
        return
    usual = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(limit_s)
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = usual


def _params(values: Mapping[str, Any]) -> Sequence[Param]:
    return [Param(key, str(value)) for key, value in values.items()]


def _metrics(values: Mapping[str, float], step: int) -> Sequence[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, step) for key, value in values.items()]


def _dataset(path: str, hash_: str) -> DatasetInput:
    dataset = Dataset(name=path, digest=hash_, source_type="dvc", source=f'{{"path": "{path}"}}')
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "input")])
