"""Data and models that a committed dvc.lock names: out of DVC's cache or the remote, by hash."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from malaria.errors import MalariaError
from malaria.gate.committed import read_regular
from malaria.gate.predictions import SHORT, shown, shown_error
from malaria.paths import LOCK, from_remote
from malaria.pipeline.cache import cache_folder, cached_path
from malaria.pipeline.lock import Entry, LockedFile, read_entries
from malaria.pipeline.stages import md5, place

MD5 = re.compile(r"[0-9a-f]{32}")


def locked_entry(root: Path, folder: str, commit: str, stage: str) -> Entry:
    """Return what a folder's lock says of a stage at a commit; raises MalariaError if nothing."""
    path = place(folder, LOCK)
    content = read_regular(root, commit, path)
    entries = {} if content is None else read_entries(content, folder, path)
    if stage not in entries:
        raise MalariaError(
            f"{path} at {commit[:SHORT]} records no run of {stage}; commit the lock of a finished "
            "run."
        )
    return entries[stage]


def inputs_of(root: Path, entry: Entry, wanted: Iterable[str]) -> dict[str, Path]:
    """Return the cached files of a stage's inputs by their path in the pipeline's folder.

    What is missing is fetched from the remote of the checkout at `root`. Each file is checked by
    its hash. Raises MalariaError for an input that the lock does not name, that is nowhere, or
    whose bytes are others.
    """
    deps = {dep.path: dep for dep in entry.deps}
    for path in wanted:
        if path not in deps or not MD5.fullmatch(deps[path].md5):
            raise MalariaError(
                f"{entry.place(LOCK)} names no file {path} that {entry.stage} read "
                f"({shown(deps[path].md5) if path in deps else 'no such input'}); run the pipeline "
                "again and commit its lock."
            )
    cache = cache_folder(root / entry.folder)
    found = {path: cached_path(cache, deps[path].md5) for path in wanted}
    missing = [deps[path] for path, file in found.items() if not file.is_file()]
    if missing:
        _fetch(root, entry.folder, missing)
    for path, file in found.items():
        if not file.is_file():
            raise MalariaError(
                f"{entry.place(path)} (MD5 {deps[path].md5}) is neither in DVC's cache nor in the "
                "remote; push it with `uv run dvc push` where it was made."
            )
        if (is_now := md5(file)) != deps[path].md5:
            raise MalariaError(
                f"{file} in DVC's cache has the MD5 {is_now}, not that of its name; delete it "
                "there and run the command again."
            )
    return found


def _fetch(root: Path, folder: str, missing: list[LockedFile]) -> None:
    """Fetch files by their hashes, whatever the work tree's lock names; nothing if no remote."""
    if not from_remote(root, folder, "fetch"):
        return
    pointer = root / folder / f"verify-{os.getpid()}.dvc"
    names = {file.md5: {"md5": file.md5, "hash": "md5", "path": file.md5} for file in missing}
    try:
        pointer.write_text(json.dumps({"outs": list(names.values())}))
        fetched = subprocess.run(
            [sys.executable, "-P", "-m", "dvc", "fetch", "--quiet", pointer.name],
            cwd=root / folder,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        pointer.unlink(missing_ok=True)
    if fetched.returncode:
        print(f"verify: {shown_error(RuntimeError(fetched.stderr))}", file=sys.stderr)
