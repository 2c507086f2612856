"""YAML as DVC reads it (1.2: 1e-5 is a number, `no` and a date are text), parsed by libyaml.

DVC's own parser, ruamel.yaml, takes ten times as long, and a history has hundreds of locks.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from malaria.errors import MalariaError

# The core schema of YAML 1.2.2, section 10.3.2: tag, pattern, and the characters it starts with.
# As DVC's parser does, it allows 1_000 too.
_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
)
_PREFIX = "tag:yaml.org,2002:"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (filled below)

    def flatten_mapping(self, node: Any) -> None:
        """Refuse a key that is there twice, as DVC does; PyYAML would take the last."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen and not hasattr(node, "is_flat"):  # merged keys may be there again
                raise ValueError(f"the key {key.value!r} is there twice{key.start_mark}")
            seen.add(name)
        node.is_flat = True
        super().flatten_mapping(node)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers  # quotes text that looks otherwise


for _tag, _pattern, _first in _SCHEMA:
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(f"^(?:{_pattern})$"), _first)


def _int(loader: Any, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0 if text[:2] in ("0o", "0x") else 10)  # 010 is ten; PyYAML's own reads 8


_Loader.add_constructor(f"{_PREFIX}int", _int)


@lru_cache(maxsize=256)
def parse_yaml(content: bytes | str) -> Any:
    """Return the values in YAML text; they are shared between calls, so do not change them.

    Raises ValueError with the reason in one line if the text is not YAML.
    """
    try:
        return yaml.load(content, _Loader)  # noqa: S506 (a safe loader with another schema)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def find_mapping(content: bytes | None) -> dict[str, Any] | None:
    """Return the mapping in YAML text; None if there is no text, or no mapping in it."""
    try:
        found = None if content is None else parse_yaml(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, not to be changed; raises MalariaError without one."""
    try:
        content = parse_yaml(path.read_bytes())
    except FileNotFoundError:
        raise MalariaError(
            f"{path} is not in {Path.cwd()}: run stages with `uv run dvc repro`, "
            "which starts them in the folder of their dvc.yaml."
        ) from None
    except ValueError as error:
        raise MalariaError(f"{path} is not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise MalariaError(f"{path} holds no mapping; write one section per stage.")
    return content


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML text."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
