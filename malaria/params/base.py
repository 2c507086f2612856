"""How a section of params.yaml becomes a frozen, strict model."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from malaria.errors import MalariaError

PARAMS = Path("params.yaml")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A section of params.yaml: frozen, refuses unknown keys and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    section: ClassVar[str]


SectionT = TypeVar("SectionT", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file (YAML 1.2, as DVC reads it: 1e-5 is a number)."""
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise MalariaError(
            f"{path} is not in {Path.cwd()}: run stages with `uv run dvc repro`, "
            "which starts them in the folder of their dvc.yaml."
        ) from None
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise MalariaError(f"{path} is not readable as YAML: {reason}") from None
    if not isinstance(content, dict):
        raise MalariaError(f"{path} holds no mapping; it needs one section a stage.")
    return content


def load(model: type[SectionT], path: Path = PARAMS) -> SectionT:
    """Return the section of `model`, read from params.yaml in the working folder.

    Raises MalariaError that names the key, its value and what is allowed.
    """
    content = read_yaml(path)
    if model.section not in content:
        raise MalariaError(f"{path} has no section `{model.section}`; add it.")
    return parse(model, content[model.section], path)


def parse(model: type[SectionT], values: object, path: Path = PARAMS) -> SectionT:
    """Return `values` as a checked section; `path` only names their file in the message."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_sentence(model, dict(fault)) for fault in error.errors()]
        raise MalariaError(f"{path}: " + "; ".join(faults) + ".") from None


def _sentence(model: type[Section], fault: dict[str, Any]) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join([model.section, *location])
    if fault["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(model, location[:-1]))
        return f"{key} is no known key (allowed: {allowed})"
    if fault["type"] == "missing":
        return f"{key} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key} is {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Return the keys of the (possibly nested) model at `location`."""
    for part in location:
        field = model.model_fields.get(part)
        nested = (
            [
                kind
                for kind in (getattr(field.annotation, "__args__", None) or [field.annotation])
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ]
            if field
            else []
        )
        if not nested:
            break
        model = nested[0]
    return list(model.model_fields)
