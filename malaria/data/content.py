"""Whether a copy holds exactly the cells that params pin; what it lacks or has changed is named."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from malaria.data.copies import Copy, Entry
from malaria.data.known import Wanted, digest, known_pixels, patient_of, pixel_hash
from malaria.data.layout import CLASSES, in_zip_order
from malaria.data.pictures import decode
from malaria.errors import MalariaError

NAMED = 10  # files in a message, before only their number is told
LONGEST = 250  # characters of a name there
REMEDY = "correct that, or take another copy (docs/data.md)"


def chosen_places(copy: Copy, wanted: Wanted) -> list[str]:
    """Return the places of the wanted cells in the order of the zip, by their names alone.

    Raises MalariaError that names what is missing, does not belong to the set or has a name in
    another case, and if a class would be empty.
    """
    known, patients = wanted.known, wanted.patients
    others = list(copy.others)
    if known:
        chosen = [place for place in copy.cells if place in known]
        foreign = copy.cells.keys() - known.keys() - wanted.others
        others += [entry.name for place in sorted(foreign) for entry in copy.cells[place]]
        _check_names(copy.path, known.keys() - copy.cells.keys(), others, len(known))
    else:
        chosen = [
            place for place in copy.cells if patients is None or patient_of(place) in patients
        ]
        _check_names(copy.path, set(), others, len(chosen))
        _check_patients(copy.path, chosen, patients)
        _check_once(copy.path, chosen)
    for name in CLASSES:
        if not any(place.startswith(f"{name}/") for place in chosen):
            raise MalariaError(
                f"{copy.path} has no wanted cell in a folder {name}, and both classes are needed; "
                "take a whole copy, or choose more patients."
            )
    return in_zip_order(chosen)


def checked_cells(copy: Copy, wanted: Wanted, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Give place and PNG of cells in the given order; after the last, `wanted.cells` is checked.

    Raises MalariaError that names files with other bytes than the pinned, says if they are only
    encoded anew, or if doubles differ.
    """
    found, changed = {}, []
    for place, content in read_cells(copy, places):
        found[place] = hashlib.sha256(content).hexdigest()
        if wanted.known and found[place] != wanted.known[place]:
            changed.append(place)
        else:
            yield place, content
    if changed:
        _refuse_changed(copy, wanted, changed)
    if (own := digest(found)) != wanted.cells:
        raise MalariaError(
            f"{copy.path} holds {len(found):,} cells, whose names and bytes have the digest {own}, "
            f"but fetch.cells pins {wanted.cells}; take a copy of the pinned cells, or pin these "
            "with the lines that `uv run malaria subset` prints."
        )


def read_cells(copy: Copy, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Give place and PNG of cells in the given order.

    Raises MalariaError, after the last, if doubles have other bytes.
    """
    unlike = []
    for place in places:
        first, *doubles = copy.cells[place]
        content = copy.read(first)
        unlike += [
            " and ".join(sorted((first.name, double.name)))
            for double in doubles
            if not _is_same(copy, double, content)
        ]
        yield place, content
    if unlike:
        raise MalariaError(
            f"{copy.path} has {_counted(unlike, 'cell')} twice with different bytes "
            f"({_named(unlike)}); delete the wrong ones, or take another copy (docs/data.md)."
        )


def _is_same(copy: Copy, double: Entry, content: bytes) -> bool:
    return double.size == len(content) and copy.read(double) == content


def _check_names(source: Path, missing: set[str], others: list[str], count: int) -> None:
    others = sorted(others)
    by_case = {place.lower(): place for place in missing}
    in_case = {name: by_case[key] for name in others if (key := _place(name).lower()) in by_case}
    if in_case:
        pairs = [f"{name} for {place}" for name, place in in_case.items()]
        raise MalariaError(
            f"{source} has {_counted(pairs, 'name')} in another case than the set "
            f"({_named(pairs)}); rename the files, or take another copy (docs/data.md)."
        )
    faults = []
    if missing:
        faults.append(
            f"lacks {len(missing):,} of {count:,} wanted cells ({_named(sorted(missing))})"
        )
    if others:
        does = "does not" if len(others) == 1 else "do not"
        faults.append(
            f"has {_counted(others, 'file')} that {does} belong to the set ({_named(others)})"
        )
    if faults:
        raise MalariaError(f"{source} {' and '.join(faults)}; {REMEDY}.")


def _check_patients(source: Path, chosen: list[str], patients: frozenset[str] | None) -> None:
    unknown = (patients or frozenset()) - {patient_of(place) for place in chosen}
    if unknown:
        raise MalariaError(
            f"{source} has no cell of {', '.join(sorted(sorted(unknown), key=len))}; remove them "
            "from the list of patients, or take a copy of the whole set."
        )


def _check_once(source: Path, chosen: list[str]) -> None:
    """Raise MalariaError if a file name is in both classes: names identify cells."""
    classes = defaultdict(list)
    for place in chosen:
        classes[place.partition("/")[2]].append(place)
    twice = [" and ".join(places) for places in classes.values() if len(places) > 1]
    if twice:
        raise MalariaError(
            f"{source} has {_counted(twice, 'file name')} in both classes ({_named(twice)}); "
            "delete the wrong ones."
        )


def _refuse_changed(copy: Copy, wanted: Wanted, changed: list[str]) -> None:
    if _has_same_pixels(copy, wanted, {patient_of(place) for place in changed}):
        raise MalariaError(
            f"{copy.path} has been encoded anew: {_counted(changed, 'PNG')} of "
            f"{len(wanted.known):,} have the pixels of the originals, but other bytes; take a copy "
            "with the original files (docs/data.md)."
        )
    raise MalariaError(
        f"{copy.path} has {_counted(changed, 'cell')} with other bytes than the set "
        f"({_named(changed)}); {REMEDY}."
    )


def _has_same_pixels(copy: Copy, wanted: Wanted, patients: set[str]) -> bool:
    """Return whether all cells of these patients have the pixels of the originals."""
    pixels: dict[str, dict[str, str]] = defaultdict(dict)
    try:
        for place in wanted.known:
            if (patient := patient_of(place)) in patients:
                content = copy.read(copy.cells[place][0])
                pixels[patient][place] = pixel_hash(decode(content, place, only_png=True))
    except MalariaError:  # a picture that is none, or in other colours
        return False
    known = known_pixels()
    return all(digest(hashes) == known.get(patient) for patient, hashes in pixels.items())


def _place(name: str) -> str:
    return "/".join(name.split("/")[-2:])


def _counted(items: list[str], what: str) -> str:
    return f"{len(items):,} {what}{'' if len(items) == 1 else 's'}"


def _named(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:NAMED]]
    text = ", ".join(name if len(name) <= LONGEST else f"{name[:LONGEST]}..." for name in shown)
    return text if len(names) <= NAMED else f"{text} and {len(names) - NAMED:,} more"
