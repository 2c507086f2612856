"""Labelled crops from elsewhere: test sets that stand beside the test split, never in it.

A set is a zip or a folder with PNG files in `Parasitized/` and `Uninfected/`, at its top or below
`cell_images/`. Any file names will do. Where all of them have the official form they tell the
patients too; otherwise the patients are unknown.

A zip is pinned by its SHA-256. A folder is pinned by that of its PNG files' list, sorted, as

    find * -name '*.png' -exec sha256sum {} + | LC_ALL=C sort | sha256sum

gives it there, so dates, order and Thumbs.db do not matter.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from zipfile import ZipFile

import numpy as np
import pandas as pd

from malaria.archive import (
    Cell,
    cell_of,
    check_bytes,
    check_entry,
    check_name,
    fault,
    in_order,
    open_archive,
)
from malaria.errors import MalariaError
from malaria.images import write_images
from malaria.layout import FOLDERS, ROOT, THUMBS
from malaria.metrics import DIGITS, with_probabilities
from malaria.mirror import MIRROR, find_in_mirror, sha256_of
from malaria.params.evaluate import ExternalSet
from malaria.params.split import SPLITS

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of images and chosen rows of them
COLUMNS = ["set", "cell_id", "patient", "label", "logit", "probability"]


@dataclass(frozen=True)
class Crops:
    """The crops of one set, their names checked, their pixels not yet."""

    source: ZipFile | Path
    cells: list[Cell]  # sorted by file name; patient '' where it is unknown


@contextmanager
def open_crops(path: Path) -> Iterator[Crops]:
    """Give the crops in a zip or a folder.

    Raises MalariaError that names the file which has no place there, an unsafe or repeated name,
    a link, or that there is no cell at all. One class alone will do.
    """
    if path.is_dir():
        yield Crops(path, _in_layout(path, _files(path)))
        return
    with open_archive(path) as archive:
        yield Crops(archive, _in_layout(path, _entries(archive)))


def sha256_of_crops(path: Path) -> str:
    """Return the SHA-256 of a zip, or that of the list of a folder's PNG files."""
    try:
        if not path.is_dir():
            return sha256_of(path)
        with open_crops(path) as crops:
            found = [f"{sha256_of(path / cell.entry)}  {cell.entry}\n" for cell in crops.cells]
    except OSError as error:
        _refuse(error)
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()


@contextmanager
def open_pinned(wanted: ExternalSet) -> Iterator[Crops]:
    """Give the crops that params pin, whose path is relative to the working folder.

    A zip is looked for by its hash in `$MALARIA_MIRROR` first, so it need not be at its path.
    Raises MalariaError where there is nothing, or not what is pinned; it and any that is raised
    while the crops are open name the set.
    """
    try:
        path = _find(wanted)
        found = sha256_of_crops(path)
        if found != wanted.sha256:
            raise MalariaError(
                f"{path} has SHA-256 {found}, but {wanted.sha256} is pinned; bring the pinned "
                f"cells back, or pin these with `uv run malaria pin {path}`."
            )
        with open_crops(path) as crops:
            yield crops
    except MalariaError as error:
        raise MalariaError(f"evaluate.external, {wanted.name}: {error}") from None


def check_external(sets: Sequence[ExternalSet]) -> None:
    """Raise MalariaError for a set that `predict_external` would not open, minutes earlier."""
    for wanted in sets:
        with open_pinned(wanted):
            pass


def predict_external(
    sets: Sequence[ExternalSet], size: int, predict: Predict, workspace: Path
) -> pd.DataFrame:
    """Return label, logit and probability of each cell of the sets, in their order.

    The images are decoded and resized to uint8 (N, size, size, 3) as the pipeline's own; they lie
    in the folder `workspace` meanwhile. `predict` gives the logits (N,) of rows of them.
    """
    parts = [_predict_set(wanted, size, predict, workspace) for wanted in sets]
    return pd.concat(parts) if parts else pd.DataFrame(columns=COLUMNS)


def write_external(predictions: pd.DataFrame, path: Path) -> None:
    """Write one row a cell; logit and probability with 6 digits after the point."""
    predictions[COLUMNS].to_csv(path, index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def read_external(path: Path) -> pd.DataFrame:
    """Return the predictions as written; an unknown patient is missing."""
    text = dict.fromkeys(("set", "cell_id", "patient"), "string")
    # A cell may be called NA, and a set null.
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"patient": [""]})


def pin(path: Path) -> str:
    """Return what a zip or folder holds and the line for `evaluate.external` that pins it.

    Decodes every cell, so that an evaluation finds nothing to refuse.
    """
    path = path.resolve()
    if not path.exists():
        raise MalariaError(f"{path} is missing; give a zip or a folder of labelled crops.")
    with open_crops(path) as crops, tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        write_images(crops.source, crops.cells, 1, Path(folder, "images.npy"))
    parasitized = sum(cell.label for cell in crops.cells)
    patients = {cell.patient for cell in crops.cells}
    line = {"name": _name_for(path), "path": str(path), "sha256": sha256_of_crops(path)}
    return (
        f"# {parasitized} parasitized and {len(crops.cells) - parasitized} uninfected cells, "
        f"patients {'unknown' if '' in patients else len(patients)}; in params.yaml, below "
        f"`external:` without its []\n    - {json.dumps(line, ensure_ascii=False)}"
    )


def _find(wanted: ExternalSet) -> Path:
    path = Path(wanted.path)
    if path.is_dir():
        return path
    mirrored = find_in_mirror(wanted.sha256)
    if mirrored is not None:
        return mirrored
    if path.is_file():
        return path
    mirror = os.environ.get(MIRROR)
    searched = f"{MIRROR} ({mirror}) holds none" if mirror else f"{MIRROR} is not set"
    raise MalariaError(
        f"{wanted.path!r} is neither a zip nor a folder, seen from {Path.cwd()}, and {searched} "
        f"(searched by SHA-256 {wanted.sha256}); correct the path, or set {MIRROR} to a folder "
        "that holds the zip."
    )


def _predict_set(wanted: ExternalSet, size: int, predict: Predict, workspace: Path) -> pd.DataFrame:
    with (
        open_pinned(wanted) as crops,
        tempfile.TemporaryDirectory(dir=workspace, prefix=".external-") as folder,
    ):
        images = Path(folder, "images.npy")
        write_images(crops.source, crops.cells, size, images)
        logit = predict(np.load(images, mmap_mode="r"), np.arange(len(crops.cells)))
    cells = pd.DataFrame(
        {
            "set": wanted.name,
            "cell_id": [cell.cell_id for cell in crops.cells],
            "patient": [cell.patient for cell in crops.cells],
            "label": [cell.label for cell in crops.cells],
            "logit": logit,
        }
    )
    return with_probabilities(cells)


def _entries(archive: ZipFile) -> Iterator[tuple[str, int]]:
    """Give name and bytes of each entry of a zip."""
    for info in archive.infolist():
        check_entry(archive, info)
        yield info.filename, info.file_size


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Give name and bytes of all that is below a folder, as a zip of it would list them."""
    # Without `onerror`, a folder that cannot be read would be left out.
    for parent, folders, files in os.walk(folder, onerror=_refuse):
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


def _refuse(error: OSError) -> NoReturn:
    raise MalariaError(f"{error.filename} cannot be read: {error.strerror}; mend that.") from None


def _in_layout(source: Path, entries: Iterable[tuple[str, int]]) -> list[Cell]:
    """Return the cells among the entries; refuse what the layout has no place for."""
    listed = list(entries)
    base = ROOT if any(name.startswith(ROOT) for name, _ in listed) else ""
    folders = {base + folder.removeprefix(ROOT): label for folder, label in FOLDERS.items()}
    passed_over = {base, *folders, *(folder + THUMBS for folder in folders)}
    found = []
    for name, count in listed:
        if name in passed_over:
            continue
        folder = name[: name.rfind("/") + 1]
        if folder not in folders or PurePosixPath(name).suffix != ".png" or not name.isprintable():
            raise fault(
                source,
                name,
                f"has no place in it: only PNG files and {THUMBS} in {' and '.join(folders)} (in "
                "this very spelling) may be there; remove, rename or move the entry",
            )
        check_bytes(source, name, count)
        found.append((name, folders[folder]))
    if not found:
        raise MalariaError(
            f"{source} has no cell; put PNG files into {' and '.join(folders)} there."
        )
    official = [cell_of(*entry) for entry in found]
    known = [cell for cell in official if cell is not None]
    return in_order(source, known if len(known) == len(found) else map(_unknown, found))


def _unknown(entry: tuple[str, int]) -> Cell:
    """Return the cell of an entry and its label, nothing known of its patient."""
    name, label = entry
    return Cell(PurePosixPath(name).stem, name, label, patient="", slide="", photo="")


def _name_for(path: Path) -> str:
    """Return a name for a set, made from that of its file."""
    stem = path.name if path.is_dir() else path.stem
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return f"external_{name}"[:30].strip("_") if name in ("", *SPLITS) else name[:30]
