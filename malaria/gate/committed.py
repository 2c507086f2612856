"""Files of a revision, or of the work tree, as the gate reads them: as data that anybody wrote.

Committed results are regular files at their own path. What is too large is not read at all.
"""

import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from malaria.core.yaml_files import parse_yaml
from malaria.errors import MalariaError
from malaria.gate.predictions import LARGEST_MB, Files, shown, shown_error
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.git import run_git
from malaria.pipeline.stages import place

MOST_VALUES = 10_000  # of params.yaml
REGULAR = ("100644", "100755")  # Git's modes of a file


def results_at(root: Path, revision: str | None, folder: str) -> Files | None:
    """Return a folder's results at a revision, None without predictions.

    No revision is the work tree. Raises MalariaError for what is no regular file or too large.
    """
    predictions, metrics = (
        read_regular(root, revision, place(folder, path)) for path in (PREDICTIONS, METRICS)
    )
    return None if predictions is None else Files(predictions, metrics or b"")


def params_at(root: Path, revision: str | None, folder: str) -> dict[str, Any]:
    """Return a folder's params.yaml at a revision, {} without one.

    Raises MalariaError if it is not readable, and for a key with a dot: it looks like a nested
    one, so that a change might not be seen.
    """
    path = place(folder, PARAMS)
    at = f"{path} at {revision or 'the work tree'}"
    content = read_regular(root, revision, path)
    try:
        params = {} if content is None else parse_yaml(content)
        keys = list(islice(_keys(params), MOST_VALUES + 1))
    except (ValueError, RecursionError) as error:
        raise MalariaError(f"{at} is not readable as YAML ({shown_error(error)}).") from None
    if not isinstance(params, dict):
        raise MalariaError(f"{at} is not a mapping in YAML; correct it.")
    if len(keys) > MOST_VALUES:  # as anchors within anchors have
        raise MalariaError(f"{at} has more than {MOST_VALUES:,} values; write plain ones.")
    for key in keys:
        if not isinstance(key, str) or "." in key:
            raise MalariaError(
                f"{at} has the key {shown(key)!r}; write names without dots, below their section."
            )
    return params


def read_regular(root: Path, revision: str | None, path: str) -> bytes | None:
    """Return a file's content at a revision (None: the work tree), None if there is no such file.

    Raises MalariaError for a symbolic link, anything else that is no file, and a large file.
    """
    found = _in_work_tree(root, path) if revision is None else _in_git(root, revision, path)
    if found is None:
        return None
    kind, size, source = found
    if kind:
        raise MalariaError(
            f"{path} at {revision or 'the work tree'} is {kind}; commit a regular file."
        )
    if size > LARGEST_MB * 10**6:
        raise MalariaError(
            f"{path} at {revision or 'the work tree'} has {size / 10**6:.1f} MB, more than the "
            f"{LARGEST_MB} MB that the gate reads; commit what the pipeline wrote."
        )
    return source.read_bytes() if isinstance(source, Path) else _blob(root, source)


def _in_work_tree(root: Path, path: str) -> tuple[str, int, Path] | None:
    """Return what is odd about a file, its size and where it is."""
    file = root / path
    for part in (file, *file.parents[: len(Path(path).parts) - 1]):
        if part.is_symlink():
            return "a symbolic link, or below one", 0, file
    if not file.exists():
        return None
    found = file.stat()
    return "" if stat.S_ISREG(found.st_mode) else "no file", found.st_size, file


def _in_git(root: Path, revision: str, path: str) -> tuple[str, int, str] | None:
    """Return what is odd about a file, its size and Git's id of its content."""
    listed = run_git(root, "ls-tree", "-l", "-z", "--full-tree", revision, "--", path)
    entries = [entry for entry in listed.decode(errors="replace").split("\0") if entry]
    if not entries:
        return None
    if len(entries) > 1:  # no Git command makes such a tree, and which one counts is open
        return "there more than once", 0, ""
    mode, kind, blob, size = entries[0].partition("\t")[0].split()
    if mode in REGULAR:
        return "", int(size), blob
    return "a symbolic link" if kind == "blob" else "no file", 0, blob


def _blob(root: Path, blob: str) -> bytes:
    return run_git(root, "cat-file", "blob", blob)


def _keys(values: Any) -> Iterator[Any]:
    """Give the keys of nested mappings, and one for each value of a list."""
    if isinstance(values, list):
        values = {str(number): value for number, value in enumerate(values)}
    if isinstance(values, dict):
        for key, value in values.items():
            yield key
            yield from _keys(value)
