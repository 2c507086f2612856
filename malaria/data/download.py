"""Leaves a file with pinned bytes on disk: from a mirror folder, a path or an http(s) address."""

import errno
import os
import re
import shutil
import time
from pathlib import Path

import requests
from tqdm import tqdm

from malaria.core.files import MIRROR, describe_mirror, find_in_mirror, sha256_of
from malaria.errors import MalariaError
from malaria.paths import dvc

CONNECT_AND_READ_SECONDS = (10.0, 30.0)
# Tries in a row that gain no byte, before the download gives up (31 s of pauses in all).
TRIES = 6
FIRST_PAUSE_SECONDS = 1.0
CHUNK = 1 << 16
RETRIED_STATUS = {408, 416, 429}
_USE_MIRROR = f"put the file into a folder and set {MIRROR} to that folder"


class _InterruptedDownload(Exception):
    """A fault that another try may get past; the message is its reason."""


def obtain(sha256: str, url: str, dest: Path) -> None:
    """Leave at `dest` exactly the bytes with this hash.

    Kept if they are there already; else copied from `$MALARIA_MIRROR`; else from `url`, an
    http(s) address or a path relative to the working folder. A broken download stays as
    `<dest>.part` and the next call resumes it. No other bytes are ever put under the final name.
    Raises MalariaError if the bytes are not available, or are not the pinned ones.
    """
    try:
        if dest.is_file() and sha256_of(dest) == sha256:
            return
        dest.parent.mkdir(parents=True, exist_ok=True)
        mirrored = find_in_mirror(sha256)
        source = mirrored or Path(url)
        if mirrored is None and url.lower().startswith(("http://", "https://")):
            _download(url, sha256, dest)
        elif source.is_file():
            _copy(source, sha256, dest)
        else:
            raise MalariaError(
                f"fetch.url is {url!r}, which is neither an http(s) address nor a file in "
                f"{Path.cwd()}, and {describe_mirror(sha256)}; put the file there, set {MIRROR} "
                "to a folder that holds it, or make the pilot's zip from the official one with "
                "`uv run malaria subset` (see docs/data.md)."
            )
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


def _copy(source: Path, sha256: str, dest: Path) -> None:
    copy = dest.with_name(dest.name + ".tmp")
    try:
        _check_space(source.stat().st_size, dest.parent)
        shutil.copyfile(source, copy)
        found = sha256_of(copy)
        if found != sha256:
            raise MalariaError(
                f"{source} ({copy.stat().st_size} bytes) has SHA-256 {found}, but "
                f"fetch.sha256 pins {sha256}; point fetch.url at the right file or pin this one."
            )
        os.replace(copy, dest)
    finally:
        copy.unlink(missing_ok=True)


def _download(url: str, sha256: str, dest: Path) -> None:
    """Download with pauses and resumption; move to `dest` only what has the pinned hash."""
    part = dest.with_name(dest.name + ".part")
    most = _size(part)
    idle = 0
    while True:
        try:
            _transfer(url, sha256, part)
            break
        except _InterruptedDownload as error:
            # Only bytes beyond the furthest point count: a server that cannot resume would
            # otherwise be asked for its first half for ever.
            idle = 0 if _size(part) > most else idle + 1
            most = max(most, _size(part))
            if idle == TRIES:
                raise MalariaError(
                    f"{url} could not be downloaded, {TRIES} tries in a row gained nothing (the "
                    f"last: {error}); {_size(part)} bytes are kept in {part} and the same command "
                    f"resumes there; or {_USE_MIRROR}, or run the demo, which downloads nothing, "
                    f"with `{dvc('demo', 'repro')}`."
                ) from None
            pause = FIRST_PAUSE_SECONDS * 2 ** max(idle - 1, 0)
            tqdm.write(f"{dest.name}: {error}; trying again in {pause:g} s.")
            time.sleep(pause)
    found = sha256_of(part)
    if found == sha256:
        os.replace(part, dest)
        return
    rejected = dest.with_name(dest.name + ".rejected")
    os.replace(part, rejected)
    raise MalariaError(
        f"{url} gave {rejected.stat().st_size} bytes with SHA-256 {found}, but fetch.sha256 pins "
        f"{sha256}; they are set aside as {rejected}: run the same command to download from the "
        f"start, or correct fetch.sha256, or set {MIRROR} to a folder that holds the right file."
    )


def _transfer(url: str, sha256: str, part: Path) -> None:
    """Add the missing bytes to `part` in one request.

    Raises _InterruptedDownload for what another try may get past, MalariaError for the rest.
    """
    start = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=CONNECT_AND_READ_SECONDS
        ) as response:
            _check_status(response, url)
            if response.status_code == 416:
                if start and sha256_of(part) == sha256:
                    return
                part.unlink(missing_ok=True)
                raise _InterruptedDownload("the server has no bytes after the kept part")
            _store(response, start, part)
    except requests.exceptions.ChunkedEncodingError as error:
        raise _InterruptedDownload("the connection broke off") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        cause = error.args[0] if error.args else error
        reason = getattr(cause, "reason", cause)
        raise _InterruptedDownload(f"the connection failed: {reason}") from error
    except requests.RequestException as error:
        raise MalariaError(
            f"{url} cannot be downloaded: {error}; correct fetch.url, or {_USE_MIRROR}."
        ) from None


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status in {200, 206, 416}:
        return
    answer = f"{status} {response.reason}"
    if status >= 500 or status in RETRIED_STATUS:
        raise _InterruptedDownload(f"the server answered {answer}")
    raise MalariaError(f"{url} answered {answer}; correct fetch.url, or {_USE_MIRROR}.")


def _store(response: requests.Response, start: int, part: Path) -> None:
    """Write the body of a 200 (from the first byte) or a 206 (from byte `start`) to `part`."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if response.status_code == 206:
        given = response.headers.get("Content-Range", "")
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", given)
        if span is None or int(span[1]) != start:
            part.unlink(missing_ok=True)
            raise _InterruptedDownload(f"the server sent the range {given!r}, not from {start}")
        total = int(span[2])
    else:
        start = 0
    with (
        part.open("ab" if start else "wb") as file,
        tqdm.wrapattr(file, "write", total, desc=part.stem, initial=start, disable=None) as out,
    ):
        if total is not None:
            _check_space(total - start, part.parent)
        for chunk in response.iter_content(CHUNK):
            out.write(chunk)
    if total is not None and _size(part) < total:
        raise _InterruptedDownload(f"the body ended after {_size(part)} of {total} bytes")


def _check_space(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MalariaError(
            f"{needed} bytes are to be written into {folder}, but its disk has {free} bytes free; "
            "free some space and run the same command again."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
