"""Files found by their hash in a folder, wherever they once came from."""

import hashlib
import os
from pathlib import Path

from malaria.errors import MalariaError

MIRROR = "MALARIA_MIRROR"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_in_mirror(sha256: str) -> Path | None:
    """Return a file with this hash in the folder `$MALARIA_MIRROR` or below it, else None.

    Raises MalariaError when the variable is set but names no folder.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return None
    if not Path(mirror).is_dir():
        raise MalariaError(
            f"{MIRROR} is {mirror!r}, which is not a folder; set it to the folder that holds "
            "the files, or unset it."
        )
    for path in sorted(Path(mirror).rglob("*")):
        if path.is_file() and os.access(path, os.R_OK) and sha256_of(path) == sha256:
            return path
    return None
