"""Files found by their hash, under whatever name."""

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

    Raises MalariaError if the variable is set to something that is not a folder.
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


def describe_mirror(sha256: str) -> str:
    """Return, for a message, why `find_in_mirror` found nothing."""
    mirror = os.environ.get(MIRROR)
    searched = f"({mirror}) holds no file" if mirror else "is not set to a folder that holds one"
    return f"{MIRROR} {searched} with SHA-256 {sha256}"
