"""The zip of some patients' cells, made from the official one with the same bytes everywhere."""

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from malaria.core.files import replacing, sha256_of
from malaria.data.archive import list_cells, open_archive, read_entry
from malaria.data.layout import FOLDERS, THUMBS, THUMBS_CONTENT, store
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


def write_subset(source: Path, patients: Collection[str], dest: Path) -> str:
    """Write the cells of `patients` from the zip `source` to the zip `dest`; return its SHA-256.

    The bytes depend only on the names and contents of those cells, not on order, dates or
    compression in `source`. An existing `dest` is replaced at the end, or not at all.
    Raises MalariaError for patients that `source` does not have, and if a class would be empty.
    """
    if dest.resolve() == source.resolve():
        raise MalariaError(f"{dest} is the source itself; give the subset another name.")
    with replacing(dest) as draft:
        _write(source, set(patients), draft)
    return sha256_of(dest)


def _write(source: Path, patients: set[str], copy: Path) -> None:
    with open_archive(source) as archive:
        cells = list_cells(archive)
        unknown = patients - {cell.patient for cell in cells}
        if unknown:
            raise MalariaError(
                f"{source} has no cell of {', '.join(sorted(sorted(unknown), key=len))}; "
                "remove them from the list, or give the official zip."
            )
        chosen = [cell for cell in cells if cell.patient in patients]
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as subset:
            for folder, label in FOLDERS.items():
                of_class = [cell for cell in chosen if cell.label == label]
                if not of_class:
                    raise MalariaError(
                        f"The {len(patients)} chosen patients have no cell in {folder}, and both "
                        "classes are needed; choose more patients."
                    )
                store(subset, folder)
                for cell in of_class:
                    store(subset, cell.entry, read_entry(archive, cell))
                store(subset, folder + THUMBS, THUMBS_CONTENT)
