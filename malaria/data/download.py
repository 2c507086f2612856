"""Leaves a file with pinned bytes on disk, from an http(s) address."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from malaria.core.addresses import shown
from malaria.core.files import MIRROR, move, sha256_of
from malaria.data.transfer import (
    LEAST_BYTES,
    USE_MIRROR,
    InterruptedDownload,
    Part,
    refuse_link,
    transfer,
)
from malaria.errors import MalariaError
from malaria.paths import dvc

# Tries in a row that gain too little, before the download gives up (31 s of pauses in all).
TRIES = 6
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0  # that a server may ask for


@contextmanager
def told(dest: Path, url: str) -> Iterator[None]:
    """Turn what a disk does into a MalariaError, and show no secret of `url` in any."""
    try:
        yield
    except MalariaError as error:
        raise MalariaError(shown(str(error), url)) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise MalariaError(
                f"The disk of {dest.parent} is full; free some space and run the same command "
                "again, which resumes a download where it stopped."
            ) from None
        raise MalariaError(
            f"{error.filename or dest} cannot be used: {error.strerror}; fix that and run the "
            "same command again."
        ) from None


def download_file(sha256: str, url: str, dest: Path) -> None:
    """Leave at `dest` exactly the bytes with this hash, from an http(s) address.

    Kept if they are there already. A broken download stays as `<dest>.part` and the next call
    resumes it. No other bytes are ever put under the final name. Raises MalariaError if the bytes
    are not available, or are not the pinned ones.
    """
    with told(dest, url):
        if dest.is_file() and sha256_of(dest) == sha256:
            return
        dest.parent.mkdir(parents=True, exist_ok=True)
        _download(url, sha256, dest)


def _download(url: str, sha256: str, dest: Path) -> None:
    """Download with pauses and resumption; move to `dest` only what has the pinned hash."""
    part = Part(dest.with_name(dest.name + ".part"))
    refuse_link(part.path)
    rejected = dest.with_name(dest.name + ".rejected")
    rejected.unlink(missing_ok=True)  # or the disk would hold two
    part.is_pieced = part.size > 0
    _receive(url, sha256, part)
    found = sha256_of(part.path)
    if found != sha256 and part.is_pieced:
        tqdm.write(f"{dest.name}: its parts are of different files; downloading from the start.")
        part.start_anew()
        _receive(url, sha256, part)
        found = sha256_of(part.path)
    if found == sha256:
        move(part.path, dest)
        return
    os.replace(part.path, rejected)
    raise MalariaError(
        f"{url} gave {rejected.stat().st_size} bytes with SHA-256 {found}, but fetch.download pins "
        f"{sha256}; they are set aside as {rejected}: run the same command to download from the "
        f"start, or correct fetch.download, or set {MIRROR} to a folder with a copy."
    )


def _receive(url: str, sha256: str, part: Part) -> None:
    """Add bytes to the part until the server says that it is whole."""
    name, most, idle, before = part.path.stem, part.size, 0, ""
    while True:
        try:
            transfer(url, sha256, part)
            return
        except InterruptedDownload as error:
            # Only bytes beyond the furthest point count: a server that cannot resume would
            # otherwise be asked for its first half for ever.
            idle = 0 if part.size >= most + LEAST_BYTES else idle + 1
            most = max(most, part.size)
            if idle == TRIES:
                raise MalariaError(
                    f"{url} could not be downloaded, {TRIES} tries in a row gained nothing (the "
                    f"last: {error}); {part.size} bytes are kept in {part.path} and the same "
                    f"command resumes there; or {USE_MIRROR}, or run the demo, which downloads "
                    f"nothing, with `{dvc('demo', 'repro')}`."
                ) from None
            if error.pause > LONGEST_PAUSE_SECONDS:
                raise MalariaError(
                    f"{url} could not be downloaded: {error} and asks to wait {error.pause:.0f} s; "
                    f"run the same command again after that, or {USE_MIRROR}."
                ) from None
            pause = max(FIRST_PAUSE_SECONDS * 2 ** max(idle - 1, 0), error.pause)
            reason = shown(str(error), url)
            again = "the same again" if reason == before else reason
            tqdm.write(f"{name}: {again}; trying again in {pause:.3g} s.")
            before = reason
            time.sleep(pause)
