"""The result tables in their files: the text around them stays, and an edit is seen."""

from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.studies.results import REMEDY, START, TABLES, table_faults, write_results
from tests.studies.kept import STUDY, keep


def texts(root: Path) -> list[str]:
    return [(root / file).read_text() for file in ("README.md", "docs/results.md")]


def test_only_the_text_between_the_markers_is_written(root: Path) -> None:
    write_results(root)
    first = texts(root)
    for text in first:
        assert text.startswith("before\n<!-- ")
        assert text.endswith(" -->\nafter\n")
        assert "old" not in text
    assert [text.count("\nafter\n") for text in first] == [1, len(TABLES) - 1]
    write_results(root)
    assert texts(root) == first


def test_a_missing_result_or_marker_is_named_and_no_file_changes(root: Path) -> None:
    before = texts(root)
    (root / "pilot/reports/train.json").rename(root / "train.json")
    with pytest.raises(MalariaError, match=r"pilot/reports/train\.json is missing; bring it back"):
        write_results(root)
    assert texts(root) == before
    (root / "train.json").rename(root / "pilot/reports/train.json")
    (root / "docs/results.md").write_text("no marker")
    with pytest.raises(MalariaError, match=r"results\.md needs the lines <!-- study-models: made"):
        write_results(root)
    assert texts(root) == [before[0], "no marker"]


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("pilot/reports/metrics.json", b'{"test":', "table `pilot` cannot be read (JSONDecodeErr"),
        ("pilot/reports/metrics.json", b"{}", "table `pilot` cannot be read (KeyError('val'))"),
        ("pilot/reports/metrics.json", b"[]", "table `pilot` cannot be read (TypeError("),
        ("pilot/series/cv.csv", b"", "the table `series` cannot be read (EmptyDataError("),
        ("pilot/series/cv.csv", b"a\n1\n", "the table `series` cannot be read (KeyError("),
        ("pilot/params.yaml", b"[", "pilot/params.yaml is not readable as YAML: "),
        ("docs/results.md", b"\xff", "docs/results.md is not UTF-8; bring it back from Git"),
    ],
)
def test_results_that_cannot_be_read_are_one_sentence(
    root: Path, path: str, content: bytes, said: str
) -> None:
    write_results(root)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_bytes(content)
    faults = table_faults(root)["docs/results.md"]
    assert any(said in fault for fault in faults)
    assert str(root) not in "".join(faults)


def test_an_edited_table_a_missing_marker_and_a_new_result_are_seen(root: Path) -> None:
    write_results(root)
    assert table_faults(root) == {"README.md": [], "docs/results.md": []}
    page = root / "docs/results.md"
    written = page.read_text()
    page.write_text(written.replace("0.900", "0.990", 1))
    edited = "the table `models` of docs/results.md is not what the committed results give"
    assert table_faults(root) == {"README.md": [], "docs/results.md": [edited]}
    page.write_text(written.replace(START.format(name="cuts"), ""))
    (fault,) = table_faults(root)["docs/results.md"]
    assert fault.startswith("docs/results.md needs the lines <!-- cuts: made by")
    page.write_text(written)
    keep(root, STUDY, "cnn_se", auc=0.9)
    assert table_faults(root)["README.md"] == [
        "the table `results` of README.md is not what the committed results give"
    ]
    write_results(root)
    assert not any(table_faults(root).values())
    (root / "README.md").unlink()
    assert table_faults(root)["README.md"] == ["README.md is missing; bring it back from Git"]
    assert REMEDY == "uv run malaria results"
