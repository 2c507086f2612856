"""Files written whole or not at all, and files found by their hash, under whatever name."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from malaria.errors import MalariaError

MIRROR = "MALARIA_MIRROR"
# Bytes of the files that params.yaml and pilot/params.yaml pin: a mirror's other files are not
# hashed for them, and a server that offers another number is not asked for its file.
SIZES = {
    "0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668": 353_452_851,
    "3465a02af274b91e4011d4758fb170122b9693b8d9e75815c521bc37ebf4ab37": 123_077_583,
}
DRAFT = ".draft-"  # how the folder of a draft begins; only a killed process leaves one


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is written there then takes the place of `path`, whole.

    Whatever ends the block early, also a kill, a power cut or a full disk, leaves `path` as it
    was. The draft has the same file name, in a new private folder beside `path`, so nobody can
    have put a link in its place. Raises MalariaError if it cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path  # a device or a pipe, as /dev/stdout: there is nothing to keep
        return
    try:
        with tempfile.TemporaryDirectory(prefix=DRAFT, dir=path.parent) as folder:
            draft = Path(folder, path.name)
            yield draft
            if path.is_file() and not path.is_symlink():
                shutil.copymode(path, draft)
            move(draft, path)
    except OSError as error:
        other = str(error.filename or "")
        reason = f"{error.strerror or error}{f': {other}' if other and DRAFT not in other else ''}"
        before = ", and is as it was" if path.exists() else ""
        raise MalariaError(
            f"{path} cannot be written ({reason}){before}; fix that and run the same command again."
        ) from None


def move(draft: Path, path: Path) -> None:
    """Give a written file its final name, once its bytes are on the disk."""
    _sync(draft)
    os.replace(draft, path)
    with suppress(OSError):  # some network file systems refuse it for a folder
        _sync(path.parent)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file as `replacing` does; text as UTF-8."""
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mirror_files() -> list[Path]:
    """Return the readable files in the folder `$MALARIA_MIRROR` or below it, the smallest first.

    There are none if the variable is not set. Raises MalariaError if it is no folder.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return []
    if not Path(mirror).is_dir():
        raise MalariaError(
            f"{MIRROR} is {mirror!r}, which is not a folder; set it to the folder that holds "
            "the files, or unset it."
        )
    files = (
        path for path in Path(mirror).rglob("*") if path.is_file() and os.access(path, os.R_OK)
    )
    return sorted(files, key=lambda path: (path.stat().st_size, path))


def find_in_mirror(sha256: str) -> Path | None:
    """Return a file with this hash in the folder `$MALARIA_MIRROR` or below it, else None.

    Only files of its size are read, if SIZES has it. Raises MalariaError as `mirror_files` does.
    """
    wanted = SIZES.get(sha256)
    for path in mirror_files():
        if wanted in (None, path.stat().st_size) and sha256_of(path) == sha256:
            return path
    return None


def describe_mirror(sha256: str) -> str:
    """Return, for a message, why `find_in_mirror` found nothing."""
    mirror = os.environ.get(MIRROR)
    searched = f"({mirror}) holds no file" if mirror else "is not set to a folder that holds one"
    return f"{MIRROR} {searched} with SHA-256 {sha256}"


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
