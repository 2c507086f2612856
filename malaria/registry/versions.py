"""The versions of a pipeline's model in MLflow's registry, under its experiment's name.

A version keeps the model, what it is judged by, and a copy of this package.
`candidate` is the version that was registered last, `champion` the one that was promoted.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, Schema

from malaria.core.params import load
from malaria.errors import MalariaError
from malaria.gate.predictions import Files
from malaria.params import MlflowParams
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from malaria.tracking.address import tracking_uri
from malaria.tracking.store import answering, find_row, open_store
from malaria.tracking.write import OUT, RUN_OF

PACKAGE = Path(__file__).parents[1]
CANDIDATE = "candidate"
CHAMPION = "champion"
LOADER = "malaria.registry.serving"
DATA = "classifier"  # the folder of a version's artifacts that has what is loaded and judged
TRAINING = f"{RUN_OF}train"  # on a row and on a version: the run that made the model
# Only the output is declared: MLflow's own message for a wrong input is unreadable.
OUTPUT = {"probability": "double", "label": "string", "threshold": "double"}
SIGNATURE = ModelSignature(outputs=Schema([ColSpec(kind, name) for name, kind in OUTPUT.items()]))
EXISTS = "RESOURCE_ALREADY_EXISTS"


@dataclass(frozen=True)
class Version:
    """A registered model."""

    number: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Runs:
    """The runs of a model: its experiment's row, and the training that made it."""

    row: str  # its id
    training: Run


@dataclass(frozen=True)
class Registry:
    """The versions of one name."""

    uri: str
    client: MlflowClient
    experiment_id: str
    name: str

    @property
    def _its_name(self) -> str:
        quote = '"' if "'" in self.name else "'"
        return f"name = {quote}{self.name}{quote}"

    def versions(self) -> list[Version]:
        """Return all versions, the newest first."""
        found = map(_version, self.client.search_model_versions(self._its_name))
        return sorted(found, key=lambda version: int(version.number), reverse=True)

    def at(self, alias: str) -> Version | None:
        """Return the version that an alias names, None if it names none."""
        models = self.client.search_registered_models(self._its_name)
        number = str(models[0].aliases.get(alias)) if models else ""
        return next((one for one in self.versions() if one.number == number), None)

    def find_runs(self, identity: str, path: str, hash_: str) -> Runs | None:
        """Return the runs of a model, None if the store does not have both.

        `path` is that of the .keras file, relative to the repository, `hash_` its MD5.
        """
        row = find_row(self.client, self.experiment_id, identity)
        found = self.client.get_run(row).data.tags.get(TRAINING) if row else None
        if row is None or found is None:
            return None
        training = self.client.get_run(found)
        is_its = training.data.tags.get(OUT + path) == hash_
        return Runs(row, training) if is_its and training.info.lifecycle_stage == "active" else None

    def add(
        self,
        data: Path,
        requirements: Sequence[str],
        runs: Runs,
        tags: Mapping[str, str],
        description: str,
    ) -> Version:
        """Return a new version with the files in `data`, loaded by a copy of this package."""
        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise
        training = runs.training.info.run_id
        logged = self.client.create_logged_model(
            self.experiment_id, DATA, training, params=runs.training.data.params
        )
        with tempfile.TemporaryDirectory(prefix="malaria-") as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no example of an input
            folder = Path(scratch, "model")
            pyfunc.save_model(
                folder,
                loader_module=LOADER,
                data_path=str(data),
                code_paths=[str(PACKAGE)],
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                    run_id=training,
                ),
                # Given, because inferring them loads the model in another process.
                pip_requirements=list(requirements),
                signature=SIGNATURE,
            )
            self.client.log_model_artifacts(logged.model_id, str(folder))
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        # With its tags: if they were set later, a version whose registration broke off in between
        # would not be found again.
        made = self.client.create_model_version(
            self.name,
            source=logged.artifact_location,
            model_id=logged.model_id,  # a server takes no source without it
            run_id=runs.row,
            tags={**tags, TRAINING: training},
            description=description,
        )
        return _version(made)

    def set_alias(
        self, alias: str, version: Version, tags: Mapping[str, str] | None = None
    ) -> None:
        """Let an alias name this version and no other, after adding tags to it."""
        for key, value in (tags or {}).items():
            self.client.set_model_version_tag(self.name, version.number, key, value)
        self.client.set_registered_model_alias(self.name, alias, version.number)

    def files(self, version: Version) -> Files:
        """Return predictions and metrics of a version.

        Raises MalariaError if its artifacts lack them.
        """
        try:
            place = self.client.get_model_version_download_uri(self.name, version.number)
            paths = (f"{place}/data/{DATA}/{Path(path).name}" for path in (PREDICTIONS, METRICS))
            with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
                found = (
                    download_artifacts(path, dst_path=scratch, tracking_uri=self.uri)
                    for path in paths
                )
                return Files(*(Path(file).read_bytes() for file in found))
        except (OSError, MlflowException) as error:
            raise MalariaError(
                f"version {version.number} of {self.name} has no predictions to compare with "
                f"({' '.join(str(error).split())[:300]}); bring its artifacts back, or remove the "
                "alias from it in MLflow."
            ) from None


@contextmanager
def open_registry(root: Path, folder: str) -> Iterator[Registry]:
    """Give the registry of a pipeline's folder in the repository; it is made at first use.

    An error of the store while it is open becomes a MalariaError.
    """
    name = load(MlflowParams, root / folder / PARAMS).experiment
    with answering(root):
        client, experiment_id = open_store(root, name)
        yield Registry(tracking_uri(root), client, experiment_id, name)


def _version(found: ModelVersion) -> Version:
    return Version(str(found.version), dict(found.tags))
