"""Sections of params: strict, frozen, and every fault is named with its key and remedy."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from malaria.core.params import OR_NONE, OR_RECIPE, Section, find_section, flatten, load, parse
from malaria.errors import MalariaError

PATH = Path("params.yaml")
DROPPED = object()


class Smears(Section):
    section: ClassVar[str] = "toy.smears"
    cells: int = Field(ge=60)
    seed: int


class Toy(Section):
    section: ClassVar[str] = "toy"
    name: str = Field(min_length=1)
    rate: Annotated[float | None, Field(gt=0), OR_RECIPE]
    flip: bool
    smears: Annotated[Smears | None, OR_NONE]
    listed: list[Smears]
    named: dict[str, Smears]


SMEARS = {"cells": 100, "seed": 1}
VALUES: dict[str, Any] = {
    "name": "a",
    "rate": 0.5,
    "flip": True,
    "smears": SMEARS,
    "listed": [SMEARS],
    "named": {"one": SMEARS},
}


def message_of(**changes: object) -> str:
    values = {key: value for key, value in (VALUES | changes).items() if value is not DROPPED}
    with pytest.raises(MalariaError) as caught:
        parse(Toy, values, PATH)
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nam": 3}, "toy.nam is not a known key (allowed: name, rate, flip, smears, listed, "),
        ({"smears": SMEARS | {"cell": 3}}, "toy.smears.cell is not a known key (allowed: cells, "),
        ({"listed": [SMEARS | {"cell": 3}]}, "toy.listed.0.cell is not a known key (allowed: cel"),
        ({"named": {"one": SMEARS | {"x": 3}}}, "toy.named.one.x is not a known key (allowed: ce"),
        ({"name": DROPPED}, "toy.name is missing"),
        ({"smears": {"cells": 60}}, "toy.smears.seed is missing"),
        ({"name": 3}, "toy.name is 3: input should be a valid string"),
        ({"name": ""}, "toy.name is '': string should have at least 1 character"),
        ({"rate": "1e-5"}, "toy.rate is '1e-5': input should be a valid number"),
        ({"rate": 0}, "toy.rate is 0: input should be greater than 0"),
        ({"flip": 1}, "toy.flip is 1: input should be a valid boolean"),
        ({"smears": SMEARS | {"cells": 2.5}}, "toy.smears.cells is 2.5: input should be a valid i"),
        ({"smears": SMEARS | {"cells": True}}, "toy.smears.cells is True: input should be a vali"),
        ({"smears": SMEARS | {"cells": 9}}, "toy.smears.cells is 9: input should be greater than"),
        ({"flip": None}, "toy.flip is None: input should be a valid boolean"),
        ({"rate": None}, "toy.rate: null is not a value here; write `recipe`."),
        ({"smears": None}, "toy.smears: null is not a value here; write `none`."),
        ({"rate": "none"}, "toy.rate is 'none': input should be a valid number"),
    ],
)
def test_a_fault_is_named_with_its_key_its_value_and_what_is_allowed(
    changes: dict[str, object], said: str
) -> None:
    assert said in message_of(**changes)


def test_all_faults_of_a_section_are_named_at_once() -> None:
    message = message_of(rate=0, name=DROPPED)
    assert "toy.rate is 0" in message
    assert "toy.name is missing" in message


@pytest.mark.parametrize("value", [None, 3, []])
def test_a_section_that_is_not_a_mapping_is_named(value: object) -> None:
    with pytest.raises(MalariaError, match=r"^params\.yaml: toy is .*: input should be a valid"):
        parse(Toy, value, PATH)


def test_a_word_becomes_none_and_a_whole_number_serves_as_a_fraction() -> None:
    toy = parse(Toy, VALUES | {"rate": "recipe", "smears": "none"})
    assert (toy.rate, toy.smears) == (None, None)
    assert parse(Toy, VALUES | {"rate": 25}).rate == 25


def test_sections_cannot_be_changed() -> None:
    toy = parse(Toy, VALUES)
    with pytest.raises(ValidationError, match="frozen"):
        toy.rate = 3
    with pytest.raises(ValidationError, match="frozen"):
        toy.listed[0].cells = 70


def test_a_section_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("toy.smears: {cells: 60, seed: 1}\nother: null\n")
    assert load(Smears, path).cells == 60
    with pytest.raises(MalariaError, match=r"params\.yaml has no section `toy`; add it\.$"):
        load(Toy, path)
    assert find_section(Toy, {"toy": VALUES}, path).name == "a"


def test_nested_values_are_flattened_under_dotted_keys() -> None:
    nested = {"split": {"fractions": {"train": 0.6}, "seed": 1}, "name": "."}
    assert flatten(nested) == {"split.fractions.train": 0.6, "split.seed": 1, "name": "."}
