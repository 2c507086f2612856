"""The versions of a pipeline's model in MLflow's registry, under its experiment's name.

A version keeps what serves it and what it is judged by, with the package's code beside it.
`candidate` is the version that was registered last, `champion` the one that was promoted.
"""

import malaria.quiet_mlflow  # noqa: F401

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from malaria.errors import MalariaError
from malaria.evaluated import Files
from malaria.logged import OUT, RUN_OF
from malaria.params.base import PARAMS, load
from malaria.params.study import MlflowParams
from malaria.pipeline import METRICS, PREDICTIONS
from malaria.store import answering, find_row, open_store, tracking_uri

CANDIDATE = "candidate"
CHAMPION = "champion"
LOADER = "malaria.serving"
DATA = "classifier"  # the folder of a version's artifacts that has what is loaded and judged
TRAINING = f"{RUN_OF}train"  # on a row and on a version: the run that made the model
# Of the answer alone: what MLflow's own check says of a wrong input is no sentence.
SIGNATURE = ModelSignature(
    outputs=Schema(
        [
            ColSpec("double", "probability"),
            ColSpec("string", "label"),
            ColSpec("double", "threshold"),
        ]
    )
)
EXISTS, NOT_THERE = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


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

    def versions(self) -> list[Version]:
        """Return all versions, the newest first."""
        quote = '"' if "'" in self.name else "'"
        found = self.client.search_model_versions(f"name = {quote}{self.name}{quote}")
        return sorted(map(_version, found), key=lambda version: int(version.number), reverse=True)

    def at(self, alias: str) -> Version | None:
        """Return the version that an alias names, None where it names none."""
        try:
            aliases = self.client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code == NOT_THERE:
                return None
            raise
        if alias not in aliases:
            return None
        return _version(self.client.get_model_version(self.name, str(aliases[alias])))

    def find_runs(self, identity: str, path: str, hash_: str) -> Runs | None:
        """Return the runs of a model, None where the store does not have both.

        `path` is that of the .keras file, seen from the repository, `hash_` its MD5.
        """
        row = find_row(self.client, self.experiment_id, identity)
        found = self.client.get_run(row).data.tags.get(TRAINING) if row else None
        if row is None or found is None:
            return None
        training = self.client.get_run(found)
        is_there = training.info.lifecycle_stage == "active"
        is_its = training.data.tags.get(OUT + path) == hash_
        return Runs(row, training) if is_there and is_its else None

    def add(
        self,
        data: Path,
        requirements: Sequence[str],
        runs: Runs,
        tags: Mapping[str, str],
        description: str,
    ) -> Version:
        """Return a new version of what lies in `data`, which this package's copy in it loads."""
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
                code_paths=[str(Path(__file__).parent)],
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
        # With its tags: were they set later, a version whose registration broke off in between
        # would not be known again.
        made = self.client.create_model_version(
            self.name,
            source=logged.artifact_location,
            model_id=logged.model_id,  # a server takes no source without it
            run_id=runs.row,
            tags={**tags, TRAINING: training},
            description=description,
        )
        return _version(made)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, version.number, key, value)

    def delete_tags(self, version: Version, keys: Iterable[str]) -> None:
        """Take tags from a version."""
        for key in keys:
            self.client.delete_model_version_tag(self.name, version.number, key)

    def set_alias(self, alias: str, version: Version) -> None:
        """Let an alias name this version and no other."""
        self.client.set_registered_model_alias(self.name, alias, version.number)

    def files(self, version: Version) -> Files:
        """Return predictions and metrics of a version.

        Raises MalariaError where its artifacts lack them.
        """
        with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
            try:
                place = self.client.get_model_version_download_uri(self.name, version.number)
                found = [
                    download_artifacts(
                        f"{place}/data/{DATA}/{Path(path).name}",
                        dst_path=scratch,
                        tracking_uri=self.uri,
                    )
                    for path in (PREDICTIONS, METRICS)
                ]
                return Files(*(Path(path).read_bytes() for path in found))
            except (OSError, MlflowException) as error:
                raise MalariaError(
                    f"version {version.number} of {self.name} has no predictions to compare with "
                    f"({_reason(error)}); bring its artifacts back, or take the alias from it in "
                    "MLflow."
                ) from None


@contextmanager
def open_registry(root: Path, folder: str) -> Iterator[Registry]:
    """Give the registry of a pipeline's folder, seen from the root; it is made at first use.

    An error of the store while it is open becomes a MalariaError.
    """
    name = load(MlflowParams, root / folder / PARAMS).experiment
    with answering(root):
        client, experiment_id = open_store(root, name)
        yield Registry(tracking_uri(root), client, experiment_id, name)


def _version(found: ModelVersion) -> Version:
    return Version(str(found.version), dict(found.tags))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
