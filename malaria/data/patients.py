"""Lists of patients."""

import re
from pathlib import Path

from malaria.errors import MalariaError

SHOWN = 40  # characters of a line in a message


def read_patients(path: Path) -> list[str]:
    """Return the patient ids (C47) of a list, one per line, in its order; `#` starts a comment.

    Raises MalariaError for a missing or empty list, a malformed line or a repeated patient.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MalariaError(f"{path} is missing; give a list of patients, one per line.") from None
    except UnicodeDecodeError:
        raise MalariaError(f"{path} is not text in UTF-8; list patients, one per line.") from None
    except OSError as error:
        raise MalariaError(f"{path} cannot be read ({error.strerror}); fix that.") from None
    patients: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        patient = line.split("#")[0].strip()
        if not patient:
            continue
        if not re.fullmatch(r"C[1-9][0-9]{0,8}", patient):
            raise MalariaError(
                f"{path}, line {number}: {patient[:SHOWN]!r} is not a patient; write one per "
                "line, as C47."
            )
        if patient in patients:
            raise MalariaError(f"{path}, line {number}: {patient} is repeated; keep one.")
        patients.append(patient)
    if not patients:
        raise MalariaError(f"{path} names no patient; write one per line, as C47.")
    return patients
