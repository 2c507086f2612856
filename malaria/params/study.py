"""The whole of params.yaml, checked before the first stage spends any time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from malaria.errors import MalariaError
from malaria.params.augment import AugmentParams
from malaria.params.base import PARAMS, Section, parse, read_yaml
from malaria.params.evaluate import EvaluateParams
from malaria.params.explain import ExplainParams
from malaria.params.fetch import FetchParams
from malaria.params.gate import GateParams
from malaria.params.preprocess import PreprocessParams
from malaria.params.split import SplitParams
from malaria.params.train import TrainParams


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
REPO = "repo"  # not a section: where dvc.yaml finds stages/ and malaria/


def load_study(path: Path = PARAMS) -> dict[str, Any]:
    """Return all of params.yaml as plain values, after checking every section.

    Raises MalariaError for an unknown or missing section, key or value.
    """
    return check_study(read_yaml(path), path)


def check_study(content: dict[str, Any], path: Path = PARAMS) -> dict[str, Any]:
    """Return `content` when all of its sections are right; `path` only names it in messages."""
    known = [REPO, *(model.section for model in SECTIONS)]
    for key in content:
        if key not in known:
            raise MalariaError(
                f"{path}: `{key}` is no known section (allowed: {', '.join(known)})."
            )
    for key in known:
        if key not in content:
            raise MalariaError(f"{path} has no section `{key}`; add it.")
    for model in SECTIONS:
        parse(model, content[model.section], path)
    return content


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
