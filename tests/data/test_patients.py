"""Lists of patients, one a line."""

import re
from pathlib import Path

import pytest

from malaria.data.patients import read_patients
from malaria.errors import MalariaError
from tests.conftest import REPO

PATIENTS = REPO / "pilot/patients.txt"


def test_a_list_of_patients_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "patients.txt"
    path.write_text("# who\n\nC10  # the third\r\nC2\n")
    assert read_patients(path) == ["C10", "C2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"C1\nC2P3\n", "patients.txt, line 2: 'C2P3' is not a patient; write one per line, as C4"),
        (b"C1 C2\n", "line 1: 'C1 C2' is not a patient"),
        (b"c1\n", "line 1: 'c1' is not a patient"),
        (b"C01\n", "line 1: 'C01' is not a patient"),
        (b"C\xd9\xa1\n", "is not a patient"),
        (b"C1\nC2\nC1\n", "line 3: C1 is repeated; keep one"),
        (b"# nobody\n", "patients.txt names no patient; write one per line"),
        (b"\xff\xfeC\x001\x00", "patients.txt is not text in UTF-8"),
        (None, r"patients\.txt is missing; give a list of patients"),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "patients.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MalariaError, match=reason):
        read_patients(path)


def test_the_list_of_the_pilot_is_sorted_by_number() -> None:
    patients = read_patients(PATIENTS)
    assert len(patients) == 80
    assert patients == sorted(patients, key=lambda patient: int(patient[1:]))
    assert re.match(r"# .*80 patients", PATIENTS.read_text())
