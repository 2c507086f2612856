"""All of params.yaml, checked before the first stage spends any time."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from malaria.core.params import Section, find_section
from malaria.core.yaml_files import read_yaml
from malaria.data.params import FetchParams, PreprocessParams, SplitParams
from malaria.errors import MalariaError
from malaria.explanation.params import ExplainParams
from malaria.gate.params import GateParams
from malaria.paths import PARAMS
from malaria.prediction.params import EvaluateParams
from malaria.training.params import AugmentParams, TrainParams

# It names a folder below mlartifacts/ and a registered model, too.
EXPERIMENT = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*")
LONGEST = 200  # bytes


def is_experiment(name: object) -> bool:
    """Return whether a value can be the name of an experiment in MLflow."""
    is_name = isinstance(name, str) and EXPERIMENT.fullmatch(name) is not None
    return is_name and len(str(name).encode()) <= LONGEST


def _checked(name: str) -> str:
    if not is_experiment(name):
        raise ValueError(
            f"{name[:LONGEST]!r} is to be a plain name, as it is that of a folder, too: without / "
            f"\\ : and a dot in front, of at most {LONGEST} bytes"
        )
    return name


class MlflowParams(Section):
    """Where runs are logged; no stage depends on it."""

    section: ClassVar[str] = "mlflow"
    experiment: Annotated[str, Field(min_length=1), AfterValidator(_checked)]


SECTIONS: tuple[type[Section], ...] = (
    FetchParams,
    SplitParams,
    PreprocessParams,
    AugmentParams,
    TrainParams,
    EvaluateParams,
    ExplainParams,
    GateParams,
    MlflowParams,
)


def load_study(path: Path = Path(PARAMS)) -> dict[str, Any]:
    """Return all of params.yaml as plain values, after checking every section.

    Raises MalariaError for an unknown or missing section, key or value.
    """
    return check_study(read_yaml(path), path)


def check_study(content: dict[str, Any], path: Path = Path(PARAMS)) -> dict[str, Any]:
    """Return `content` if all of its sections are right; `path` is only for messages."""
    known = [model.section for model in SECTIONS]
    for key in content:
        if key not in known:
            raise MalariaError(
                f"{path}: `{key}` is not a known section (allowed: {', '.join(known)})."
            )
    for model in SECTIONS:
        find_section(model, content, path)
    return content
