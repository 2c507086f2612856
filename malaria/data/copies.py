"""A copy of the set as somebody has it: a zip or a folder, official, nested or bare.

What counts are the files in folders called Parasitized and Uninfected, wherever these lie in the
copy. A cell may be there several times, as in the copy on Kaggle, if its bytes are the same.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from zipfile import ZipFile, ZipInfo

from malaria.data.archive import (
    cell_of,
    check_bytes,
    check_entry,
    check_name,
    fault,
    open_archive,
    read_bytes,
)
from malaria.data.layout import CLASSES, is_passed_over
from malaria.errors import MalariaError


@dataclass(frozen=True)
class Entry:
    """A file of a copy: its name there, its bytes as declared, and its entry if it is in a zip."""

    name: str
    size: int
    info: ZipInfo | None = None


@dataclass(frozen=True)
class Copy:
    """The files of a copy; their names are checked, their bytes are not yet.

    cells: by place (class folder, slash, file name), each with all its doubles; others: names of
    what is no cell, and was not left by a system.
    """

    path: Path
    archive: ZipFile | None
    cells: dict[str, list[Entry]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of a file; raises MalariaError if they are damaged or not readable."""
        if self.archive is not None and entry.info is not None:
            return read_bytes(self.archive, entry.info)
        try:
            return (self.path / entry.name).read_bytes()
        except OSError as error:
            reason = f"cannot be read ({error.strerror}); fix that"
            raise fault(self.path, entry.name, reason) from None


@contextmanager
def open_copy(path: Path, only: Collection[str] = ()) -> Iterator[Copy]:
    """Give the copy of the set in a zip or a folder; of a folder only these folders, if named.

    Raises MalariaError for what is neither, for unsafe names, links, devices, encrypted or absurdly
    large entries, and for a class folder in another case.
    """
    if path.is_dir():
        entries = (Entry(name, size) for name, size in files_below(path, only))
        yield _sorted_out(Copy(path, None), entries)
        return
    with open_archive(path) as archive:
        for info in archive.infolist():
            check_entry(archive, info)
        entries = (Entry(info.filename, info.file_size, info) for info in archive.infolist())
        yield _sorted_out(Copy(path, archive), entries)


def files_below(folder: Path, only: Collection[str] = ()) -> Iterator[tuple[str, int]]:
    """Give the name and bytes of everything below a folder, as a zip of it would list them.

    The names of folders end in a slash. What systems leave is passed over. Raises MalariaError for
    links, for what is neither file nor folder, and for what is not readable.
    """
    # Without `onerror`, a folder that is not readable would be skipped.
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        is_top = Path(parent) == folder and only
        folders[:] = [
            name for name in folders if not is_passed_over(name) and (not is_top or name in only)
        ]
        files = [] if is_top else [name for name in files if not is_passed_over(name)]
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            name = path.relative_to(folder).as_posix()
            check_name(folder, name)
            if path.is_symlink():
                raise fault(folder, name, "is a symbolic link; put the file itself there")
            if path.is_dir():
                yield f"{name}/", 0
            elif path.is_file():
                yield name, path.stat().st_size
            else:
                raise fault(folder, name, "is neither a file nor a folder; remove it")


def _sorted_out(copy: Copy, entries: Iterable[Entry]) -> Copy:
    for entry in entries:
        *folders, name = entry.name.split("/")  # the name of a folder ends in a slash
        if any(map(is_passed_over, [*folders, name])):
            continue
        _check_case(copy.path, folders)
        parent = folders[-1] if folders else ""
        if not name:
            continue
        if parent in CLASSES and name.endswith(".png") and cell_of(name, CLASSES[parent]):
            check_bytes(copy.path, entry.name, entry.size)
            copy.cells.setdefault(f"{parent}/{name}", []).append(entry)
        else:
            copy.others.append(entry.name)
    return copy


def _check_case(source: Path, folders: list[str]) -> None:
    for number, folder in enumerate(folders, start=1):
        right = next((name for name in CLASSES if name.lower() == folder.lower()), folder)
        if folder != right:
            raise MalariaError(
                f"{source} has the folder {'/'.join(folders[:number])!r}, but in the set its name "
                f"is {right!r}; rename it (of a zip: unpack it, and give the folder)."
            )


def _refuse(error: OSError) -> NoReturn:
    raise MalariaError(f"{error.filename} cannot be read ({error.strerror}); fix that.") from None
