"""Files in DVC's cache, found by their MD5."""

import subprocess
import sys
from pathlib import Path

from malaria.errors import MalariaError


def cached_path(cache: Path, md5: str) -> Path:
    """Return where the file with this MD5 lies in the cache, if it is there; it has no suffix."""
    return cache / "files/md5" / md5[:2] / md5[2:]


def cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache, wherever its settings have it.

    Raises MalariaError where DVC cannot tell.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise MalariaError(
            f"DVC cannot tell where its cache is ({' '.join(asked.stderr.split())}); mend "
            ".dvc/config."
        )
    return root / asked.stdout.strip()
