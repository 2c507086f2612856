"""The saved model as MLflow keeps it: the very bytes of DVC's file, with its signature."""

import malaria.quiet_mlflow  # noqa: F401

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import pyfunc
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

NAME = "model"
FLAVOR = "mlflow.tensorflow"  # reads any Keras model, and serves it
PACKAGES = ("keras", "tensorflow")


def log_model(client: MlflowClient, run: Run, file: Path, params: Mapping[str, Any]) -> None:
    """Log a .keras file as the model of a run with the run's params, unless it has one.

    Neither Keras nor TensorFlow is started: what goes in (uint8 RGB of the model's own size) and
    out (the probability of 'parasitized') is the same for all of this repository's models.
    """
    if run.outputs is not None and run.outputs.model_outputs:
        return
    texts = {key: str(value) for key, value in params.items()}
    logged = client.create_logged_model(run.info.experiment_id, NAME, run.info.run_id, params=texts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, NAME)
        description = Model(
            artifact_path=logged.artifact_location,
            run_id=run.info.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        )
        _write(file, folder, description)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])


def input_shape(file: Path) -> tuple[int, int, int]:
    """Return height, width and channels that a .keras file's model takes."""
    with zipfile.ZipFile(file) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    height, width, channels = layers[0]["config"]["batch_shape"][1:]
    return height, width, channels


def _write(file: Path, folder: Path, description: Model) -> None:
    """Make an MLflow model with the flavours of mlflow.tensorflow.log_model."""
    kind, files = _empty_model(input_shape(file))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    data = folder / "data"
    data.mkdir()
    shutil.copyfile(file, data / "model.keras")
    (data / "keras_module.txt").write_text("keras")
    (data / "save_format.txt").write_text("tf")  # as the flavour calls a .keras file
    description.signature = kind.signature
    description.saved_input_example_info = kind.saved_input_example_info
    description.flavors = deepcopy(kind.flavors)
    description.flavors["python_function"]["data"] = data.name
    description.add_flavor(
        "tensorflow",
        data=data.name,
        model_type="keras",
        keras_version=version("keras"),
        save_format="tf",
        code=None,
    )
    description.model_size_bytes = sum(path.stat().st_size for path in data.iterdir())
    description.save(str(folder / "MLmodel"))


@cache
def _empty_model(shape: tuple[int, int, int]) -> tuple[Model, dict[str, bytes]]:
    """Return what all models of an input shape have in common: description, and files by name.

    Kept, because MLflow takes a quarter of a second to write it, and a history has many models.
    """
    kind = Model()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, NAME)
        pyfunc.save_model(
            folder,
            loader_module=FLAVOR,
            mlflow_model=kind,
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype("uint8"), (-1, *shape))]),
                Schema([TensorSpec(np.dtype("float32"), (-1, 1))]),
            ),
            input_example=np.zeros((1, *shape), "uint8"),
            # Given, because inferring them loads the model in another process: 18 s.
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
        )
        files = [path for path in folder.rglob("*") if path.is_file()]
        return kind, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
