"""The files that a stage's entry in dvc.lock names, out of Git and DVC's cache.

A file counts when it has the MD5 of the entry, whatever lies in its place.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from malaria.cached import cache_folder, cached_path
from malaria.entry import Entry, LockedFile, md5_of
from malaria.pipeline import md5
from malaria.states import Files, Revision


class Outputs:
    """Where the outputs of entries are found; DVC is started for the first cached one."""

    def __init__(self, files: Files) -> None:
        """Nothing is read yet."""
        self._files = files

    def find(
        self, out: LockedFile, entry: Entry, revisions: Sequence[Revision], scratch: Path
    ) -> Path | None:
        """Return a local file with an output's content, None where it is nowhere.

        `revisions` have the entry in their lock; the file lies in the folder `scratch`.
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
            content = self._files.read(revision, entry.place(out.path))
            if content is not None and md5_of(content) == out.md5:
                target = _named(out, scratch)
                target.write_bytes(content)
                return target
        return None

    def _find_in_cache(self, out: LockedFile, scratch: Path) -> Path | None:
        cached = cached_path(self._cache, out.md5)
        if not cached.is_file() or md5(cached) != out.md5:
            return None
        target = _named(out, scratch)  # names in the cache have no suffix
        target.unlink(missing_ok=True)
        target.symlink_to(cached)
        return target

    @cached_property
    def _cache(self) -> Path:
        return cache_folder(self._files.root)


def _named(out: LockedFile, scratch: Path) -> Path:
    return scratch / f"{out.md5}{Path(out.path).suffix}"
