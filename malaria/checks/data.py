"""DVC's links and remotes, the disk, and the files that params pin."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import requests

from malaria.checks.finding import Finding, ask, one_line, shown_size
from malaria.mirror import MIRROR, find_in_mirror, sha256_of
from malaria.params.base import PARAMS, load, read_yaml
from malaria.params.evaluate import EvaluateParams
from malaria.params.fetch import FetchParams
from malaria.params.train import TrainParams
from malaria.pipeline import LOCK, PIPELINES, in_repo
from malaria.store import CREDENTIALS
from malaria.weights import PINNED

LINKS, REMOTE, DISK, FILES = "DVC links", "DVC remote", "disk", "pinned files"
DVC = (sys.executable, "-m", "dvc")
QUIET = {"CI": "true"}  # DVC then looks for no newer version, and leaves no file of that
USUAL_LINKS = "reflink,copy"  # what DVC takes where cache.type says nothing
COPY = "copy"
DVC_LIMIT_S = 60
REMOTE_LIMIT_S = 15
ZIP = Path("data/raw/cell_images.zip")


def check_dvc(root: Path) -> Iterator[Finding]:
    """Give how files come from DVC's cache, and whether its remotes answer."""
    settings = _settings(root)
    yield from check_links(root, settings)
    yield from check_remotes(root, settings)


def check_links(root: Path, settings: Mapping[str, str]) -> Iterator[Finding]:
    """Give how files come from DVC's cache into the folders."""
    if "cache.dir" not in settings and not (root / ".dvc/cache").is_dir():
        yield Finding("ok", LINKS, "there is no cache yet; the first stage makes it")
        return
    wanted = settings.get("cache.type", USUAL_LINKS).split(",")
    said = ask([*DVC, "doctor"], root, DVC_LIMIT_S, **QUIET)
    lines = [line for line in said.out.splitlines() if line.startswith("Cache types: ")]
    if said.code != 0 or not lines:
        remedy = "see `uv run dvc doctor`; a clone of this repository has .dvc/config"
        yield Finding("fail", LINKS, f"DVC does not work here ({said.error})", remedy)
        return
    possible = [*lines[0].removeprefix("Cache types: ").split(", "), COPY]
    if "no-dvc-cache" in lines[0]:  # where cache.dir names a folder that is not there
        yield Finding("ok", LINKS, "there is no cache yet; the first stage makes it")
        return
    taken = next((kind for kind in map(str.strip, wanted) if kind in possible), None)
    if taken is None:
        yield Finding(
            "fail",
            LINKS,
            f"cache.type is {','.join(wanted)}, but between cache and work tree there is only "
            f"{', '.join(possible)}",
            f"`uv run dvc config --local cache.type {','.join([*wanted, COPY])}`",
        )
    elif taken == COPY:
        yield Finding("ok", LINKS, "copies, so data lies in the cache and beside it")
    else:
        yield Finding("ok", LINKS, f"{taken}s, so data lies on the disk once")


def check_remotes(root: Path, settings: Mapping[str, str]) -> Iterator[Finding]:
    """Give whether each of DVC's remotes answers, within some seconds each."""
    urls = {
        key.removeprefix("remote.").removesuffix(".url"): value
        for key, value in settings.items()
        if key.startswith("remote.") and key.endswith(".url")
    }
    if not urls:
        yield Finding("ok", REMOTE, "none is set, so data is on this machine alone")
        return
    for name, url in urls.items():
        yield _reached(root, name, url)
    if "core.remote" not in settings:
        remedy = f"`uv run dvc remote default {next(iter(urls))}`"
        yield Finding(
            "warn", REMOTE, "none is the default, so `dvc push` does not know one", remedy
        )


def check_disk(root: Path) -> Iterator[Finding]:
    """Give whether the largest pipeline whose lock tells its sizes could run once more."""
    needed = {folder: _size_of_outs(root / folder / LOCK) for folder in PIPELINES}
    largest = max(needed, key=lambda folder: needed[folder])
    free = shutil.disk_usage(root).free
    if not needed[largest]:
        yield Finding("ok", DISK, f"{shown_size(free)} are free; no lock tells what is needed")
        return
    said = (
        f"{shown_size(free)} are free, and a new run of {largest} leaves "
        f"{shown_size(needed[largest])}"
    )
    remedy = "free some space; `uv run dvc gc --workspace` drops data of other revisions"
    if free < needed[largest]:
        yield Finding("fail", DISK, said, remedy)
    elif free < 2 * needed[largest]:
        yield Finding("warn", DISK, f"{said}, twice where it is copied into the cache", remedy)
    else:
        yield Finding("ok", DISK, said)


def check_pinned(root: Path) -> Iterator[Finding]:
    """Give the pinned files of each pipeline that are not at hand and have no web address.

    Raises MalariaError where $MALARIA_MIRROR is no folder, or params are wrong.
    """
    found = [_missing(root, folder, *pin) for folder in PIPELINES for pin in _pins(root / folder)]
    missing = [finding for finding in found if finding is not None]
    yield from missing
    if not missing:
        yield Finding("ok", FILES, "all are at hand or have a web address")


def _missing(
    root: Path, folder: str, what: str, sha256: str, places: Sequence[Path]
) -> Finding | None:
    """Return the finding on a pinned file that is nowhere."""
    for place in places:
        if place.is_dir() or (place.is_file() and sha256_of(place) == sha256):
            return None
    if find_in_mirror(sha256) is not None:
        return None
    searched = [in_repo(str(place), root, root) for place in places]
    mirror = os.environ.get(MIRROR)
    searched.append(f"the folder {mirror}" if mirror else f"${MIRROR} (which is not set)")
    return Finding(
        "warn",
        FILES,
        f"{folder} pins {what} (SHA-256 {sha256}), found in none of {', '.join(searched)}",
        f"put the file below a folder and name that in {MIRROR} (README.md says how to get it)",
    )


def _settings(root: Path) -> dict[str, str]:
    """Return DVC's settings by their dotted keys, as the last file that sets them says."""
    said = ask([*DVC, "config", "--list"], root, DVC_LIMIT_S, **QUIET)
    return dict(line.split("=", 1) for line in said.out.splitlines() if "=" in line)


def _reached(root: Path, name: str, url: str) -> Finding:
    said = f"{name}, {CREDENTIALS.sub('//', url)},"
    remedy = "mend the address (`uv run dvc remote modify`), the login or the network"
    if "://" not in url:
        if Path(url).is_dir():
            return Finding("ok", REMOTE, f"{said} is there")
        remedy = "mount it, if it is a disk; else `uv run dvc push` makes it"
        return Finding("warn", REMOTE, f"{said} is no folder", remedy)
    if url.startswith("http"):  # which lists no folder
        try:
            code = requests.head(url, timeout=REMOTE_LIMIT_S).status_code
        except requests.RequestException as error:
            reason = CREDENTIALS.sub("//", one_line(error))
            return Finding("fail", REMOTE, f"{said} does not answer ({reason})", remedy)
        return Finding("ok", REMOTE, f"{said} answers ({code})")
    listed = ask([*DVC, "ls-url", f"remote://{name}"], root, REMOTE_LIMIT_S, **QUIET)
    if listed.code == 0:
        return Finding("ok", REMOTE, f"{said} answers")
    reason = CREDENTIALS.sub("//", listed.error.removeprefix("ERROR:").strip())
    if "requires 'dvc-" in reason:
        remedy = "run DVC with the plugin that this names, as in `uv run --with dvc-s3 dvc push`"
    elif "does not exist" in reason:
        remedy = "`uv run dvc push` makes it, unless the address is wrong"
        return Finding("warn", REMOTE, f"{said} has nothing there ({reason})", remedy)
    return Finding("fail", REMOTE, f"{said} does not answer ({reason})", remedy)


def _size_of_outs(lock: Path) -> int:
    """Return the bytes of all outputs that a lock records; 0 where there is none."""
    stages: Mapping[str, Mapping[str, list[Mapping[str, int]]]]
    stages = read_yaml(lock).get("stages", {}) if lock.is_file() else {}
    return sum(int(out.get("size", 0)) for one in stages.values() for out in one.get("outs", []))


def _pins(base: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """Give what a folder's params pin: what it is, its SHA-256, and places where it may be."""
    params = base / PARAMS
    fetch, train = load(FetchParams, params), load(TrainParams, params)
    if fetch.sha256 and not fetch.url.startswith(("http://", "https://")):
        yield "its zip", fetch.sha256, [base / ZIP, base / fetch.url]
    if train.weights.startswith(PINNED):
        yield "its weights", train.weights.removeprefix(PINNED), []
    for one in load(EvaluateParams, params).external:
        yield f"the external set {one.name}", one.sha256, [base / one.path]
