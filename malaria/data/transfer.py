"""One request for the missing bytes of a download, whatever the server does.

`malaria.data.download` repeats it, and checks what came by its hash.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from malaria.core.files import MIRROR, SIZES, sha256_of
from malaria.errors import MalariaError

CONNECT_AND_READ_SECONDS = (10.0, 30.0)
SLOW_SECONDS = 20.0
LEAST_BYTES = 20_000  # in that time, and of a try that gains something
MOST_BYTES = 4 << 30  # of a file whose size is neither known nor declared
CHUNK = 1 << 16
OBJECT = re.compile(r"^(<[^>]*>|\w+\([^)]*\)): ")  # how urllib3 names a connection, host and all
RETRIED_STATUS = {408, 416, 425, 429}
USE_MIRROR = f"put a copy of the set into a folder and set {MIRROR} to that folder"
OR = f"correct fetch.url, or {USE_MIRROR}"


class InterruptedDownload(Exception):
    """A fault that another try may get past; the message is its reason."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        """A pause is what the server asks for, in seconds."""
        super().__init__(reason)
        self.pause = pause


@dataclass
class Part:
    """The bytes that are kept between tries, and what the server said of its file."""

    path: Path
    file: tuple[str | None, int | None] | None = None  # its ETag or date, and size
    is_pieced: bool = False  # from more than one answer

    @property
    def size(self) -> int:
        """The number of bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def start_anew(self) -> None:
        """Throw the kept bytes away."""
        self.path.unlink(missing_ok=True)
        self.file, self.is_pieced = None, False


def transfer(url: str, sha256: str, part: Part) -> None:
    """Add the missing bytes to `part` in one request.

    Raises InterruptedDownload for what another try may get past, MalariaError for the rest.
    """
    start = part.size
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=CONNECT_AND_READ_SECONDS
        ) as response:
            _check_status(response, url)
            if response.status_code == 416:
                if start and sha256_of(part.path) == sha256:
                    return
                part.start_anew()
                raise InterruptedDownload("the server has no bytes after the kept part")
            _store(response, url, SIZES.get(sha256), part)
    except (requests.exceptions.ChunkedEncodingError, HTTPError) as error:
        raise InterruptedDownload("the connection broke off") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        cause = error.args[0] if error.args else error
        reason = OBJECT.sub("", str(getattr(cause, "reason", cause)))
        raise InterruptedDownload(f"the connection failed: {reason}") from error
    except (requests.RequestException, ValueError) as error:  # ValueError: a broken redirect
        raise MalariaError(f"{url} cannot be downloaded: {error}; {OR}.") from None


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    encoding = response.headers.get("Content-Encoding", "identity")
    if status in {200, 206, 416}:
        if encoding != "identity":
            raise MalariaError(f"{url} is sent compressed ({encoding}), unasked; {OR}.")
        return
    answer = f"{status} {response.reason}"
    if status >= 500 or status in RETRIED_STATUS:
        raise InterruptedDownload(f"the server answered {answer}", _asked_pause(response))
    raise MalariaError(f"{url} answered {answer}; {OR}.")


def _asked_pause(response: requests.Response) -> float:
    """Return the seconds in Retry-After, which has a number or a date; 0 without one."""
    asked = response.headers.get("Retry-After", "")
    if re.fullmatch("[0-9]{1,9}", asked):
        return float(asked)
    try:
        date = parsedate_to_datetime(asked)
    except ValueError:
        return 0
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0)


def _store(response: requests.Response, url: str, known: int | None, part: Part) -> None:
    """Write the body of a 200 (from the first byte) or a 206 (from its end) to the part.

    `known` is the size of the pinned file, None if it is not known.
    """
    start, total = _span(response, part)
    if known is not None and total not in (None, known):
        raise MalariaError(
            f"{url} has {total} bytes, but the file that fetch.download pins has {known}; {OR}."
        )
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if start and part.file not in (None, (validator, total)):
        part.start_anew()
        raise InterruptedDownload("the server has another file now")
    part.file, part.is_pieced = (validator, total), start > 0
    most = known or total or MOST_BYTES
    with (
        os.fdopen(_open_part(part.path, is_new=not start), "ab") as file,
        tqdm.wrapattr(
            file, "write", total, desc=part.path.stem, initial=start, disable=None
        ) as out,
    ):
        if total is not None:
            check_space(total - start, part.path.parent)
        for chunk in _chunks(response):
            start += len(chunk)
            if start > most:
                part.start_anew()
                raise MalariaError(f"{url} sends more than the {most} bytes it can have; {OR}.")
            out.write(chunk)
    if total is not None and part.size < total:
        raise InterruptedDownload(f"the body ended after {part.size} of {total} bytes")


def _span(response: requests.Response, part: Part) -> tuple[int, int | None]:
    """Return where the body begins in the file, and the file's size if the server declares it."""
    if response.status_code != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    given = response.headers.get("Content-Range", "")
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", given)
    if span is None or int(span[1]) != part.size:
        said = f"the server sent the range {given!r}, not from {part.size}"
        part.start_anew()
        raise InterruptedDownload(said)
    return int(span[1]), int(span[2])


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Give the bytes of the body as they come; a server that hardly sends any is left."""
    began, count = time.monotonic(), 0
    # Not `iter_content`, which waits for a whole chunk, so for ever at a byte a second.
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        yield chunk
        count += len(chunk)
        if time.monotonic() - began > SLOW_SECONDS:
            if count < LEAST_BYTES:
                raise InterruptedDownload(f"the server sent {count} bytes in {SLOW_SECONDS:g} s")
            began, count = time.monotonic(), 0


def _open_part(path: Path, is_new: bool) -> int:
    """Open the part to append to it; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.open(path, flags | (os.O_TRUNC if is_new else 0), 0o666)


def refuse_link(path: Path) -> None:
    """Raise MalariaError if something else than a file of its own has the name of the part."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise MalariaError(
            f"{path} is a link, or no file, where the kept bytes of a download would be; delete it."
        )


def check_space(needed: int, folder: Path) -> None:
    """Raise MalariaError if a disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MalariaError(
            f"{needed} bytes are to be written into {folder}, but its disk has {free} bytes free; "
            "free some space and run the same command again."
        )
