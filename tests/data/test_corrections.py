"""A reviewed list of labels: found by its hash, read strictly, applied only to train."""

from pathlib import Path

import pandas as pd
import pytest

from malaria.core.files import MIRROR, sha256_of
from malaria.data.corrections import correct, find_corrections, read_corrections, read_list
from malaria.errors import MalariaError

CELLS = pd.DataFrame(
    [("a", 1, "train"), ("b", 0, "train"), ("c", 1, "train"), ("d", 1, "val"), ("e", 0, "test")],
    columns=["cell_id", "label", "split"],
)


def write(path: Path, *lines: str, head: str = "rank,cell_id,label,verdict") -> Path:
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_only_train_labels_change(tmp_path: Path) -> None:
    listed = write(
        tmp_path / "l.csv", "1,a,1,flip", "2,b,0,drop", "3,c,1,", "4,d,1,flip", "5,e,0,drop"
    )
    verdicts = read_corrections(listed, CELLS)
    assert verdicts.to_dict() == {"a": "flip", "b": "drop", "d": "flip", "e": "drop"}
    corrected = correct(CELLS, verdicts)
    assert corrected.to_numpy().tolist() == [
        ["a", 0, "train"],
        ["b", 0, "dropped"],
        ["c", 1, "train"],
        ["d", 1, "val"],
        ["e", 0, "test"],
    ]


def test_a_list_edited_in_a_spreadsheet_is_read(tmp_path: Path) -> None:
    listed = tmp_path / "l.csv"
    listed.write_bytes(b"cell_id,label,verdict,remark\r\na, 1 , Flip ,blurred\r\nc,1,,\r\n")
    assert read_corrections(listed, CELLS).to_dict() == {"a": "flip"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1,a,1,wrong", "a verdict other than flip, drop, keep or blank: 'a', label '1'"),
        ("1,z,1,flip", "a cell that the zip does not have: 'z'"),
        ("1,b,1,flip", "a label that is not the zip's: 'b', label '1'"),
        ("1,c,1,flip\n2,c,1,drop", "names a cell twice: 'c'"),
    ],
)
def test_a_line_that_cannot_be_right_is_named(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(MalariaError, match=fault):
        read_corrections(write(tmp_path / "l.csv", line), CELLS)


def test_a_file_that_is_not_such_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match="no column `verdict`"):
        read_corrections(write(tmp_path / "l.csv", "1,a,1", head="rank,cell_id,label"), CELLS)
    for content in (b"", b"\xff\xfe\x00c\x00", b'cell_id,label,verdict\n"a,1,flip\n'):
        (tmp_path / "l.csv").write_bytes(content)
        with pytest.raises(MalariaError, match="not readable as CSV"):
            read_corrections(tmp_path / "l.csv", CELLS)


@pytest.mark.parametrize("number", [1, 2])
def test_a_value_with_a_comma_moves_no_column(tmp_path: Path, number: int) -> None:
    lines = ["rank,cell_id,label,verdict,note", "1,a,1,flip,", "2,b,0,drop,", "3,c,0,keep,"]
    lines[number] += "no, I think"
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(MalariaError, match=f"line {number + 1} has not 5 values; quote a value"):
        read_list(tmp_path / "list.csv")
    lines[number] = lines[number].replace("no, I think", '"no, I think"')
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    assert list(read_list(tmp_path / "list.csv")["verdict"]) == ["flip", "drop", "keep"]


def test_the_list_is_found_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = write(tmp_path / "l.csv", "1,a,1,flip")
    sha256 = sha256_of(listed)
    monkeypatch.delenv(MIRROR, raising=False)
    assert find_corrections(str(listed), sha256) == listed
    with pytest.raises(MalariaError, match=r"not a file in .*, or set split.corrections to none"):
        find_corrections("missing.csv", sha256)
    monkeypatch.setenv(MIRROR, str(tmp_path))
    assert find_corrections("missing.csv", sha256) == listed
    write(listed, "1,a,1,drop")
    with pytest.raises(MalariaError, match="after an edit pin the new one"):
        find_corrections(str(listed), sha256)
