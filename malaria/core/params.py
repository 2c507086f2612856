"""How a section of params.yaml becomes a frozen, strict model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.paths import PARAMS

NONE = "none"
RECIPE = "recipe"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A section of params.yaml: frozen, refuses unknown keys and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    section: ClassVar[str]


SectionT = TypeVar("SectionT", bound=Section)


def _none_for(word: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is None:  # DVC rewrites every null of the file whenever it sets a param
            raise ValueError(f"null is not a value here; write `{word}`")
        return None if value == word else value

    return BeforeValidator(check)


# For `T | None`: a word of params.yaml that becomes None.
OR_NONE = _none_for(NONE)
OR_RECIPE = _none_for(RECIPE)


def load(model: type[SectionT], path: Path = Path(PARAMS)) -> SectionT:
    """Return the section of `model`, read from params.yaml in the working folder.

    Raises MalariaError that names the key, its value and what is allowed.
    """
    return find_section(model, read_yaml(path), path)


def find_section(model: type[SectionT], content: Mapping[str, Any], path: Path) -> SectionT:
    """Return the checked section of a file's `content`; `path` is only for messages."""
    if model.section not in content:
        raise MalariaError(f"{path} has no section `{model.section}`; add it.")
    return parse(model, content[model.section], path)


def parse(model: type[SectionT], values: object, path: Path = Path(PARAMS)) -> SectionT:
    """Return `values` as a checked section; `path` is only for messages."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_sentence(model, dict(fault)) for fault in error.errors()]
        raise MalariaError(f"{path}: " + "; ".join(faults) + ".") from None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _sentence(model: type[Section], fault: dict[str, Any]) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join([model.section, *location])
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            allowed = ", ".join(_keys_at(model, location[:-1]))
            return f"{key} is not a known key (allowed: {allowed})"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            return f"{key}: {message}"
    return f"{key} is {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Return the keys of the (possibly nested) model at `location`."""
    for part in location:
        if part in model.model_fields:  # else a place in a list, or a name of the user's
            annotation = model.model_fields[part].annotation
            for kind in get_args(annotation) or [annotation]:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
    return list(model.model_fields)
