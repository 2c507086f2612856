"""The zip of some patients' cells, made from any copy of the set with the same bytes everywhere."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from malaria.core.files import replacing, sha256_of
from malaria.data.content import chosen_places, read_cells
from malaria.data.copies import open_copy
from malaria.data.known import Wanted, digest
from malaria.data.layout import size_of_zip, write_cells
from malaria.data.transfer import check_space
from malaria.errors import MalariaError


@dataclass(frozen=True)
class Subset:
    """What was written: the number of cells, and what params pin, `fetch.cells` and `.sha256`."""

    count: int
    cells: str
    sha256: str


def write_subset(source: Path, patients: Collection[str] | None, dest: Path) -> Subset:
    """Write the cells of `patients`, None for all, from a copy of the set to the zip `dest`.

    The bytes depend only on the names and contents of those cells, not on order, dates, compression
    or layout of `source`, a zip or a folder. An existing `dest` is replaced at the end, or not at
    all. Raises MalariaError for patients that `source` lacks, and if a class would be empty.
    """
    if dest.resolve() == source.resolve():
        raise MalariaError(f"{dest} is the source itself; give the subset another name.")
    chosen = None if patients is None else frozenset(patients)
    hashes: dict[str, str] = {}
    with open_copy(source) as copy:
        places = chosen_places(copy, Wanted("", "", chosen, {}, frozenset()))

        def noted() -> Iterator[tuple[str, bytes]]:
            for place, content in read_cells(copy, places):
                hashes[place] = hashlib.sha256(content).hexdigest()
                yield place, content

        if dest.parent.is_dir():  # else `replacing` says so
            check_space(size_of_zip({p: copy.cells[p][0].size for p in places}), dest.parent)
        with replacing(dest) as draft:
            write_cells(draft, noted())
    return Subset(len(places), digest(hashes), sha256_of(dest))
