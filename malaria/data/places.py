"""Where on this machine the cells may lie already: other pipelines, DVC's cache, a mirror."""

import os
from collections.abc import Iterator
from pathlib import Path

from malaria.core.files import MIRROR, mirror_files, sha256_of
from malaria.data.layout import CLASSES, ROOT, first_bytes
from malaria.paths import PIPELINE, PIPELINES, ZIP, cache_of

_ANY_ZIP = b"PK"
_CACHED = "files/md5/*/*"


def find_ready(sha256: str, main: Path) -> Path | None:
    """Return a zip with this hash in the repository, DVC's cache or `$MALARIA_MIRROR`, else None.

    `main` is a pipeline's folder in the user's checkout.
    Only files that begin as the zips of `fetch` do are read to the end. Raises MalariaError if the
    mirror is no folder.
    """
    files = (path for where in (kept_zips(main), mirror_files()) for path in where)
    ours = (path for path in files if _starts(path, first_bytes()))
    return next((path for path in ours if sha256_of(path) == sha256), None)


def kept_zips(main: Path) -> Iterator[Path]:
    """Give the zips of `fetch` in the repository's pipelines, then those in DVC's cache.

    `main` is a pipeline's folder in the user's checkout.
    """
    is_nested = main.name in PIPELINES and (main.parent / PIPELINE).is_file()
    root = main.parent if is_nested else main
    yield from (path for folder in PIPELINES if (path := root / folder / ZIP).is_file())
    cache = cache_of(main)
    if cache is not None:
        yield from (path for path in cache.glob(_CACHED) if _starts(path, first_bytes()))


def mirrored_copies() -> Iterator[tuple[Path, list[str]]]:
    """Give what may be a copy of the set in `$MALARIA_MIRROR`: folders, then zips.

    A folder comes with the names of the folders in it to look at. A link to a folder is followed
    if it leads to a copy.
    """
    for parent, folders, _ in os.walk(os.environ.get(MIRROR) or os.devnull):
        found = _of_set(Path(parent))
        if found:
            yield Path(parent), found
        for name in [name for name in folders if name not in found]:
            if Path(parent, name).is_symlink() and (linked := _of_set(Path(parent, name))):
                yield Path(parent, name), linked
        folders[:] = [name for name in folders if name not in found]
    yield from ((path, []) for path in mirror_files() if _starts(path, _ANY_ZIP))


def main_folder() -> Path:
    """Return the pipeline's folder in the user's checkout.

    DVC runs queued and temporary experiments in another one, in which nothing has been fetched yet;
    it names the user's in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def _of_set(folder: Path) -> list[str]:
    """Return the folders in a folder that belong to the set, whatever their case."""
    names = {name.lower() for name in (*CLASSES, ROOT.rstrip("/"))}
    try:
        return sorted(path.name for path in folder.iterdir() if path.name.lower() in names)
    except OSError:
        return []


def _starts(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False
