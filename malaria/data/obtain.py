"""Leaves the pinned zip of cells, from whatever copy of the set is at hand."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import copyfile

from tqdm import tqdm

from malaria.core.files import MIRROR, replacing, sha256_of
from malaria.data.content import checked_cells, chosen_places
from malaria.data.copies import Copy, open_copy
from malaria.data.download import download_file, told
from malaria.data.known import Wanted, wanted
from malaria.data.layout import size_of_zip, write_cells
from malaria.data.params import FetchParams, is_address
from malaria.data.patients import read_patients
from malaria.data.places import find_ready, kept_zips, main_folder, mirrored_copies
from malaria.data.transfer import check_space
from malaria.errors import MalariaError
from malaria.paths import ZIP

SHOWN = 3  # copies in a message
DOWNLOAD = "download.zip"  # beside the zip, until that is made of it


class Unfit(MalariaError):
    """A copy of the set that is not what params pin; another may be."""


def obtain(params: FetchParams, dest: Path) -> None:
    """Leave at `dest` the zip that params pin.

    Kept if it is there already; else copied from another checkout of the repository, DVC's cache or
    `$MALARIA_MIRROR`; else made from a copy of the set with the pinned cells, whatever its layout:
    at `fetch.url` if that is a path, in the repository or cache, in the mirror, or downloaded.
    Nothing else is ever put under the final name. Raises MalariaError if there is no such copy.
    """
    with told(dest, params.url):
        goal = _goal(params, Path())
        if dest.is_file() and sha256_of(dest) == goal.sha256:
            return
        dest.parent.mkdir(parents=True, exist_ok=True)
        ready = find_ready(goal.sha256, main_folder())
        if ready is not None:
            _copy(ready, goal.sha256, dest)
            return
        given = None if is_address(params.url) else _given(params.url, Path())
        if given is not None:
            _make(given, goal, dest)
            return
        if _make_from_kept(goal, dest):
            return
        unfit = _make_from_mirror(goal, dest)
        if unfit is None:
            return
        try:
            _make_from_download(params, goal, dest)
        except MalariaError as error:
            if not unfit:
                raise
            said = f"{MIRROR} has {unfit} that does not fit, as said above"
            raise MalariaError(f"{str(error).removesuffix('.')}; {said}.") from None


def is_at_hand(params: FetchParams, folder: Path) -> bool:
    """Return whether a pipeline's folder needs no network for its cells, by the names in copies.

    Raises MalariaError if the mirror is no folder, or the list of patients is malformed.
    """
    goal = _goal(params, folder)
    if (folder / ZIP).is_file() or find_ready(goal.sha256, folder):
        return True
    given = None if is_address(params.url) else _given(params.url, folder)
    return given is not None or any(
        _suits(path, goal, only)
        for path, only in (*((path, []) for path in kept_zips(folder)), *mirrored_copies())
    )


def _goal(params: FetchParams, folder: Path) -> Wanted:
    if params.cells is None or params.sha256 is None:
        raise ValueError("these params draw the cells")
    patients = params.patients and read_patients(folder / params.patients)
    return wanted(params.cells, params.sha256, patients or None)


def _given(url: str, folder: Path) -> Path | None:
    """Return the place of a path in params, also if it is relative to the user's checkout."""
    path = Path(url).expanduser()
    return next((place for place in (folder / path, main_folder() / path) if place.exists()), None)


def _suits(path: Path, goal: Wanted, only: Collection[str]) -> bool:
    with suppress(MalariaError), open_copy(path, only) as copy:
        return bool(chosen_places(copy, goal))
    return False


def _copy(source: Path, sha256: str, dest: Path) -> None:
    check_space(source.stat().st_size, dest.parent)
    with replacing(dest) as draft:
        copyfile(source, draft)
        _check_zip(source, draft, sha256)
    tqdm.write(f"fetch: copied from {source}")


def _make_from_kept(goal: Wanted, dest: Path) -> bool:
    for path in kept_zips(main_folder()):
        with suppress(Unfit):  # another pipeline's, so no fault
            _make(path, goal, dest)
            return True
    return False


def _make_from_mirror(goal: Wanted, dest: Path) -> str | None:
    """Return None if the zip was made, else the places of copies that do not fit, '' without."""
    unfit = []
    for path, folders in mirrored_copies():
        try:
            if _make(path, goal, dest, folders, is_asked=False):
                return None
        except Unfit as error:
            tqdm.write(f"fetch: passed over in {MIRROR}: {error}")
            unfit.append(str(path))
    return " and ".join(unfit[:SHOWN])


def _make_from_download(params: FetchParams, goal: Wanted, dest: Path) -> None:
    if not is_address(params.url) or params.download is None:
        raise MalariaError(
            f"fetch.url is {params.url!r}, which is neither an http(s) address nor a zip or folder "
            f"in {Path.cwd()}, and neither this repository nor {MIRROR} has a copy of the pinned "
            f"cells; correct fetch.url, or set {MIRROR} to a folder with a copy (docs/data.md)."
        )
    source = dest.with_name(DOWNLOAD)
    download_file(params.download, params.url, source)
    with open_copy(source) as copy:
        cells = list(checked_cells(copy, goal, chosen_places(copy, goal)))
    # The disk never holds both: the cells are in memory, some 350 MB for the whole set.
    source.unlink()
    _write(params.url, {place: len(png) for place, png in cells}, cells, goal, dest)


def _make(
    path: Path, goal: Wanted, dest: Path, only: Collection[str] = (), is_asked: bool = True
) -> bool:
    """Make the zip from a copy of the set; return False if it has no cell and nobody named it.

    Raises Unfit for what is wrong with the copy, MalariaError for the rest.
    """
    with ExitStack() as stack:
        with _faults_of_copy():
            copy = stack.enter_context(open_copy(path, only))
            if not copy.cells and not is_asked:
                return False
            places = chosen_places(copy, goal)
        sizes = {place: _size(copy, place) for place in places}
        _write(str(path), sizes, _read(copy, goal, places), goal, dest)
    return True


def _read(copy: Copy, goal: Wanted, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    with _faults_of_copy():
        yield from checked_cells(copy, goal, places)


@contextmanager
def _faults_of_copy() -> Iterator[None]:
    try:
        yield
    except MalariaError as error:
        raise Unfit(str(error)) from None


def _size(copy: Copy, place: str) -> int:
    return copy.cells[place][0].size


def _write(
    source: str,
    sizes: dict[str, int],
    cells: Iterable[tuple[str, bytes]],
    goal: Wanted,
    dest: Path,
) -> None:
    check_space(size_of_zip(sizes), dest.parent)
    with replacing(dest) as draft:
        write_cells(draft, cells)
        _check_zip(source, draft, goal.sha256)
    tqdm.write(f"fetch: {len(sizes):,} cells from {source}")


def _check_zip(source: object, draft: Path, sha256: str) -> None:
    found = sha256_of(draft)
    if found != sha256:
        raise MalariaError(
            f"the zip from {source} has {draft.stat().st_size} bytes and SHA-256 {found}, but "
            f"fetch.sha256 pins {sha256}; take another copy (docs/data.md), or pin this one."
        )
