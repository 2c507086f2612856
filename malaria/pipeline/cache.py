"""The outputs that an entry of dvc.lock names, out of Git and DVC's cache.

A file counts only if it has the MD5 of the entry, whatever lies in its place.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from malaria.errors import MalariaError
from malaria.paths import cache_of
from malaria.pipeline.history import Files, Revision
from malaria.pipeline.lock import Entry, LockedFile
from malaria.pipeline.stages import counted, md5, md5_of, md5_of_folder


def cached_path(cache: Path, md5: str) -> Path:
    """Return where the file with this MD5 lies in the cache, if it is there; it has no suffix."""
    return cache / "files/md5" / md5[:2] / md5[2:]


def cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache; raises MalariaError if DVC does not know it."""
    found = cache_of(root)
    if found is None:
        raise MalariaError(
            "DVC does not say where its cache is; see what `uv run dvc cache dir` prints, and "
            "correct .dvc/config."
        )
    return found


class Outputs:
    """Finds the outputs of entries; DVC is started for the first cached one."""

    def __init__(self, files: Files) -> None:
        """Nothing is read yet."""
        self._files = files

    def find(
        self, out: LockedFile, entry: Entry, revisions: Sequence[Revision], scratch: Path
    ) -> Path | None:
        """Return a local file or folder with an output's content, None if there is none.

        `revisions` have the entry in their lock; the result lies in the folder `scratch`.
        """
        stage = self._files.stages(revisions[0], entry.folder).get(entry.stage)
        if stage is None or out.path not in stage.cached:
            found = self._find_tracked(out, entry, revisions, scratch)
            if found is not None or stage is not None:
                return found
        return self._find_in_cache(out, scratch)

    def _find_tracked(
        self, out: LockedFile, entry: Entry, revisions: Sequence[Revision], scratch: Path
    ) -> Path | None:
        for revision in reversed(revisions):  # the work tree first
            contents = self._read(revision, out, entry)
            hashes = {name: md5_of(content) for name, content in contents.items()}
            found = md5_of_folder(hashes) if out.is_folder else hashes.get("")
            if found == out.md5:
                return _write(contents, out, scratch)
        return None

    def _read(self, revision: Revision, out: LockedFile, entry: Entry) -> dict[str, bytes]:
        """Return the content of an output's files by their path below it; '' for a file."""
        path = entry.place(out.path)
        names = counted(out.path, self._files.list(revision, path)) if out.is_folder else [""]
        found = {name: self._files.read(revision, f"{path}/{name}".rstrip("/")) for name in names}
        return {name: content for name, content in found.items() if content is not None}

    def _find_in_cache(self, out: LockedFile, scratch: Path) -> Path | None:
        cached = cached_path(self._cache, out.md5)
        if not cached.is_file() or md5(cached) != out.md5:
            return None
        target = _target(out, scratch)  # names in the cache have no suffix
        target.unlink(missing_ok=True)
        target.symlink_to(cached)
        return target

    @cached_property
    def _cache(self) -> Path:
        return cache_folder(self._files.root)


def _target(out: LockedFile, scratch: Path) -> Path:
    return scratch / f"{out.md5}{Path(out.path).suffix}"


def _write(contents: dict[str, bytes], out: LockedFile, scratch: Path) -> Path:
    target = _target(out, scratch)
    for name, content in contents.items():
        file = target / name if name else target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return target
