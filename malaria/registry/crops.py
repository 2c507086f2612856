"""Single cells in image files, decoded and resized as the pipeline does it."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from malaria.data.images import resize
from malaria.data.layout import is_passed_over
from malaria.data.likeness import describe_unlike, unlikeness
from malaria.data.pictures import decode
from malaria.data.remedies import MAX_ENTRY_BYTES
from malaria.errors import MalariaError

LISTED = 10  # faults in a message


def list_crops(paths: Sequence[Path]) -> list[Path]:
    """Return the files among the paths and those below the folders among them, each once.

    Folders are read in the order of their file names, without what systems leave there. Raises
    MalariaError for a path that does not exist, a folder that cannot be read or is a link inside
    another, and if there is no file at all.
    """
    found = [file for path in paths for file in (_below(path) if path.is_dir() else [path])]
    for path in found:
        if not path.is_file():
            raise MalariaError(f"{path} is not a file; name image files, or folders of them.")
        if not str(path).isprintable():
            raise MalariaError(f"the file name {str(path)!r} cannot be printed; rename the file.")
    if not found:
        raise MalariaError(
            f"there is no image in {', '.join(map(str, paths))}; name image files, or folders of "
            "them."
        )
    return list(dict.fromkeys(found))


def write_crops(files: Sequence[Path], size: int, path: Path) -> str:
    """Write the files' images as uint8 (N, size, size, 3) RGB, decoding each once.

    Returns a warning if some are unlike all cells of the set, else ''. Memory does not grow with
    N. Raises MalariaError that names the files which do not decode, after all have been tried.
    """
    faults: list[str] = []
    odd: dict[str, str] = {}
    shape = (len(files), size, size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda file: _read(file, size), files)
        bar = tqdm(found, total=len(files), unit="cell", desc="decode", disable=None)
        for row, (image, reason) in enumerate(bar):
            if image is None:
                faults.append(reason)
                continue
            images[row] = image
            if reason:
                odd[str(files[row])] = reason
    if faults:
        are, more = "is" if len(faults) == 1 else "are", len(faults) - LISTED
        raise MalariaError(
            f"{len(faults)} of {len(files)} files {are} not usable, so nothing was predicted: "
            f"{' '.join(faults[:LISTED])}{f' And {more} more.' if more > 0 else ''}"
        )
    return describe_unlike(odd, len(files))


def _read(file: Path, size: int) -> tuple[np.ndarray | None, str]:
    """Return the resized image in a file, and in what it is unlike cells; None and its fault."""
    try:
        # No more than a cell may have, however large the file is.
        with file.open("rb") as opened:
            content = opened.read(MAX_ENTRY_BYTES + 1)
        pixels = decode(content, str(file))
        return resize(pixels, size), unlikeness(pixels)
    except OSError as error:
        return None, f"{str(file)!r} cannot be read ({error.strerror}); fix that."
    except MalariaError as error:
        return None, str(error)


def _below(folder: Path) -> Iterator[Path]:
    """Give the files below a folder, sorted."""
    listed: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        for name in folders:
            if Path(parent, name).is_symlink():
                raise MalariaError(
                    f"{Path(parent, name)} is a link to a folder; name that folder itself."
                )
        folders[:] = [name for name in folders if not is_passed_over(name)]
        listed += (Path(parent, name) for name in files if not is_passed_over(name))
    yield from sorted(listed)


def _refuse(error: OSError) -> None:
    raise MalariaError(f"{error.filename} cannot be read ({error.strerror}); fix that.")
