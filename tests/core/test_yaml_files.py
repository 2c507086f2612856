"""YAML files are read as DVC reads them, with DVC's own parser as the measure."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from malaria.core.yaml_files import dump_yaml, find_mapping, parse_yaml, read_yaml
from malaria.errors import MalariaError
from tests.conftest import REPO


def as_dvc(content: str | bytes) -> Any:
    return YAML(typ="safe", pure=True).load(content)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "pilot/params.yaml", "pilot/dvc.lock"])
def test_the_repositorys_own_files_are_read_as_dvc_reads_them(name: str) -> None:
    assert read_yaml(REPO / name) == as_dvc((REPO / name).read_bytes())


@pytest.mark.parametrize(
    "text",
    [
        *("1e-5", "1e-05", "1E+5", ".5", "5.", "-7", "+7", "010", "0123abc", "1:30", "1.0.0"),
        *("0x1f", "0o17", "017", "1_000", "1e5", "2024"),
        *("no", "yes", "on", "true", "True", "", "~", "null", "'1'", ".nan", "-.inf", "e5", "1e"),
        *("[0.9, 1]", "{a: ~}", "{<<: {a: 1, b: 2}, a: 3}"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str) -> None:
    assert repr(parse_yaml(f"key: {text}")) == repr(as_dvc(f"key: {text}"))


def test_a_date_stays_text() -> None:
    assert parse_yaml("key: 2024-01-01") == {"key": "2024-01-01"}


@pytest.mark.parametrize(
    "content",
    [
        *(b"a: [", b"\xff\xfe\x00", b"a: b: c", b"- &a *b", b"a: \0", b"a: !!int x"),
        *(b"a: 1\nb: 2\n'a': 3", b"x: {a: 1, a: 1}"),
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_yaml(content)
    assert find_mapping(content) is None


def test_a_key_that_is_there_twice_is_named_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"^the key 'b' is there twice in .*, line 3, column 1"):
        parse_yaml("b: 1\na: 2\nb: 1\n")


def test_merged_keys_may_be_overwritten_again() -> None:
    content = "a: &a {x: 1}\nq: {b: &b {<<: *a, x: 2}}\nc: {<<: *b, x: 3}\n"
    assert parse_yaml(content) == as_dvc(content)


@pytest.mark.parametrize("content", [None, b"", b"- a", b"3"])
def test_only_a_mapping_is_found(content: bytes | None) -> None:
    assert find_mapping(content) is None
    assert find_mapping(b"a: 1") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no mapping"),
        ("- train\n", "holds no mapping"),
        ("train: {epochs: 3\nsplit:\n", "is not readable as YAML"),
        ("fetch: 1\nfetch: 2\n", "is not readable as YAML"),
    ],
)
def test_a_file_without_a_mapping_is_refused_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(MalariaError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path} {reason}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MalariaError, match="uv run dvc repro") as caught:
        read_yaml(Path("params.yaml"))
    assert f"params.yaml is not in {tmp_path}" in str(caught.value)


def test_dumped_values_come_back_and_text_that_looks_otherwise_is_quoted() -> None:
    values = {
        "text": ["1e-5", "1", "null", "true", ".5", "<<", "no", "1:30", "é"],
        "numbers": [1e-5, 1, 0.9, float("inf")],
        "others": [None, True, {}],
    }
    dumped = dump_yaml(values)
    assert "- '1e-5'\n- '1'\n- 'null'\n" in dumped
    assert as_dvc(dumped) == parse_yaml(dumped) == values
