"""All of params.yaml, checked before the first stage spends any time."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from malaria.core.params import Section, find_section
from malaria.core.yaml_files import read_yaml
from malaria.data.params import FetchParams, PreprocessParams, SplitParams
from malaria.errors import MalariaError
from malaria.explanation.params import ExplainParams
from malaria.gate.params import GateParams
from malaria.paths import PARAMS
from malaria.prediction.params import EvaluateParams
from malaria.training.params import AugmentParams, TrainParams


class MlflowParams(Section):
    """Where runs are logged; no stage depends on it."""

    section: ClassVar[str] = "mlflow"
    experiment: str = Field(min_length=1)


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
