"""The models that MLflow's pages link: one of each training, shown by the experiment's row.

The file itself is in DVC's cache and an artifact of the training's run; MLflow has its name.
"""

from collections.abc import Iterable

from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

from malaria.core.params import flatten
from malaria.paths import MODEL
from malaria.pipeline.lock import Entry
from malaria.tracking.index import Index, StoredRun
from malaria.tracking.write import MADE_BY, MODEL_ID, NOTE, OUT


def add_model(client: MlflowClient, experiment_id: str, entry: Entry, run: StoredRun) -> bool:
    """Give the run of a training its model in MLflow; return whether that was new."""
    hashes = [out.md5 for out in entry.outs if out.path == MODEL]
    if not hashes or MODEL_ID in run.tags:
        return False
    # An interrupted call may have made it.
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run.run_id}'")
    made = next((model for model in found if OUT + entry.place(MODEL) in model.tags), None)
    model = made or client.create_logged_model(
        experiment_id,
        str(flatten(entry.params).get("train.model", "model")),
        run.run_id,
        {
            MLFLOW_MODEL_IS_EXTERNAL: "true",
            OUT + entry.place(MODEL): hashes[0],
            NOTE: f"`{MODEL}` among the artifacts of the source run; in DVC's cache `{hashes[0]}`.",
        },
    )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    link_model(client, run, model.model_id)
    return True


def link_model(client: MlflowClient, run: StoredRun, model_id: str | None) -> bool:
    """Show a model on the page of a run or row; return whether that was new."""
    if model_id is None or run.tags.get(MODEL_ID) == model_id:
        return False
    client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=0)])
    client.set_tag(run.run_id, MODEL_ID, model_id)
    run.tags[MODEL_ID] = model_id
    return True


def model_of(index: Index, runs: Iterable[StoredRun]) -> str | None:
    """Return the id of the model that stages' runs made or read, None if there is none."""
    for run in runs:
        made_by = (one for key, one in run.tags.items() if key.startswith(MADE_BY))
        for maker in [run, *(index.runs[one] for one in made_by if one in index.runs)]:
            if MODEL_ID in maker.tags:
                return maker.tags[MODEL_ID]
    return None
