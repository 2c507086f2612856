"""All checks of `malaria doctor`; store.py has those of MLflow."""

import json
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from malaria.core.addresses import shown
from malaria.core.files import MIRROR, describe_mirror, find_in_mirror
from malaria.core.params import load
from malaria.core.yaml_files import read_yaml
from malaria.data.obtain import DOWNLOAD, is_at_hand
from malaria.data.params import FetchParams, is_address
from malaria.doctor.finding import Finding, ask, one_line
from malaria.doctor.store import check_store
from malaria.errors import MalariaError
from malaria.models.base.weights import PINNED, find_weights
from malaria.paths import LOCK, PARAMS, PIPELINES, dvc
from malaria.pipeline.facts import CHECKPOINTS
from malaria.pipeline.git import check_whole
from malaria.prediction.params import EvaluateParams
from malaria.training.checkpoint import KEPT_DAYS
from malaria.training.params import TrainParams

# In a process of its own: Keras takes seconds to start, and keeps a GPU's memory.
ASK_KERAS = """
import keras
from malaria.training.backend import prepare
print(keras.backend.backend(), prepare("auto", "float32", seed=0).device)
"""
DVC = (sys.executable, "-P", "-m", "dvc")
USUAL_LINKS, COPY = "reflink,copy", "copy"  # DVC's default of cache.type, and what always works
REMOTE_LIMIT_S = 15
# The pipelines share a cache, so DVC has to see what each of them uses.
COLLECT = f"uv run dvc gc --workspace --projects {' '.join(PIPELINES[1:])}"
DOCS = "docs/data.md"
RWLOCK = ".dvc/tmp/rwlock"
# The Python of a script's first line, or of its second one if that would be too long.
STARTS = re.compile(r"""^(?:#!|'''exec' )["']?(/[^"'\n]*python[\d.]*)""", re.MULTILINE)
UNFINISHED = ("*.part", "*.rejected", "*.tmp", DOWNLOAD)


def check_python(root: Path) -> Iterator[Finding]:
    """Give whether Python and the installed packages fit together, as uv sees it."""
    result = ask(["uv", "pip", "check", "--python", sys.executable], root)
    running = platform.python_version()
    if result.returncode == 0:
        yield Finding("ok", f"{running}, and all packages fit together")
    else:
        remedy = "run `uv sync` (without uv: `pipx install uv`)"
        found = f"{running}, but {result.stderr}"
        yield Finding("fail" if result.returncode == 1 else "warn", found, remedy)


def check_environment(root: Path) -> Iterator[Finding]:
    """Give whether the environment's programs start its own Python: their first line has a path."""
    programs = Path(sys.prefix) / "bin"
    dvc = programs / "dvc"
    started = STARTS.search(dvc.read_bytes()[:1000].decode()) if dvc.is_file() else None
    if started and Path(started[1]).parent.resolve() != programs.resolve():
        what = "of another environment" if Path(started[1]).exists() else "which is not there"
        remedy = f"was the folder moved or copied? delete {sys.prefix} and run `uv sync` again"
        yield Finding("fail", f"{dvc} starts {started[1]}, {what}", remedy)


def check_git(root: Path) -> Iterator[Finding]:
    """Give that the whole history is here; raises MalariaError outside Git or if it is cut off."""
    check_whole(root)
    yield Finding("ok", "the whole history is here")


def check_device(root: Path) -> Iterator[Finding]:
    """Give the device that Keras trains on, and whether it overlooks a GPU."""
    result = ask([sys.executable, "-c", ASK_KERAS], root)
    if result.returncode:
        remedy = "set KERAS_BACKEND to tensorflow or jax and run `uv sync` (jax: `--extra jax`)"
        yield Finding("fail", f"Keras does not start (... {result.stderr[-200:]})", remedy)
        return
    backend, device = result.stdout.split()[-2:]
    gpus = ask(["nvidia-smi", "--list-gpus"], root)
    if device == "cpu" and gpus.returncode == 0 and gpus.stdout:
        found = f"Keras' {backend} backend does not see {gpus.stdout.splitlines()[0]}"
        extra = "jax" if backend == "jax" else "gpu"
        yield Finding("warn", found, f"run `uv sync --extra {extra}` and check the driver")
    else:
        yield Finding("ok", f"Keras' {backend} backend trains on the {device}")


def check_disk(root: Path) -> Iterator[Finding]:
    """Give whether there is room for another run of the pipeline with the largest outputs."""
    sizes = {folder: _size_of_outs(root / folder / LOCK) for folder in PIPELINES}
    largest, needed = max(sizes.items(), key=lambda item: item[1])
    free = shutil.disk_usage(root).free
    shown, size = tqdm.format_sizeof(free, "B"), tqdm.format_sizeof(needed, "B")
    found = f"{shown} are free; another run of {largest} takes {size}, twice that with copies"
    if free >= 2 * needed:
        yield Finding("ok", found)
    else:
        remedy = f"`{COLLECT}` deletes the data of other commits and experiments"
        yield Finding("warn" if free >= needed else "fail", found, remedy)


def check_pinned(root: Path) -> Iterator[Finding]:
    """Give the pinned files that are not at hand and have no web address.

    Raises MalariaError if $MALARIA_MIRROR is not a folder, or params are wrong.
    """
    remedy = f"put it below a folder and name that folder in {MIRROR} ({DOCS})"
    for folder in PIPELINES:
        params = root / folder / PARAMS
        fetch, weights = load(FetchParams, params), load(TrainParams, params).weights
        pins = [(s.name, s.sha256, [s.path]) for s in load(EvaluateParams, params).external]
        is_drawn = fetch.synthetic is not None
        if not (is_drawn or is_address(fetch.url) or is_at_hand(fetch, params.parent)):
            found = f"{folder} needs a copy of the cells, and fetch.url {fetch.url!r} is not there"
            yield Finding("warn", found, f"put one below a folder that {MIRROR} names ({DOCS})")
        if weights.startswith(PINNED):  # else a name, which has a web address
            try:
                find_weights(weights)
            except MalariaError as error:
                yield Finding("warn", f"{folder}: {error}")
        for what, sha256, paths in pins:
            is_here = any((params.parent / path).exists() for path in paths)
            if not is_here and not find_in_mirror(sha256):
                found = f"{folder} needs {what}, not found here; {describe_mirror(sha256)}"
                yield Finding("warn", found, remedy)


def check_dvc(root: Path, folder: str) -> Iterator[Finding]:
    """Give how DVC's cache is linked into a pipeline's folder, and which remotes do not answer."""
    doctor = ask([*DVC, "doctor"], root / folder)
    links = re.search("^Cache types: (.*)$", doctor.stdout, re.MULTILINE)
    if not links:
        found = f"`{dvc(folder, 'doctor')}` finds no repository"
        yield Finding("fail", found, "restore .dvc/config from Git, or see what it prints")
        return
    config = ask([*DVC, "config", "--list"], root / folder).stdout
    chosen = re.search(r"^cache\.type=(.*)$", config, re.MULTILINE)
    wanted = chosen[1] if chosen else USUAL_LINKS
    possible = [*links[1].split(", "), COPY]
    used = next((kind for kind in wanted.split(",") if kind in possible), None)
    if "no-dvc-cache" in links[1]:
        yield Finding("ok", "no cache yet; the first stage makes it")
    elif used:
        times = "twice, in the cache and outside" if used == COPY else "once"
        yield Finding("ok", f"cache.type {used}: data takes its space {times}")
    else:
        remedy = dvc(folder, f"config --local cache.type {wanted},{COPY}")
        yield Finding("fail", f"this disk has no cache.type {wanted}", f"run `{remedy}`")
    for name in re.findall(r"^remote\.(.+)\.url=", config, re.MULTILINE):
        listed = ask([*DVC, "ls-url", f"remote://{name}"], root / folder, REMOTE_LIMIT_S)
        if listed.returncode:
            reason = shown(listed.stderr.removeprefix("ERROR: "))
            remedy = "check address, login and network, or `dvc push` if it is new"
            yield Finding("warn", f"the remote {name} does not answer ({reason})", remedy)


def check_locks(root: Path) -> Iterator[Finding]:
    """Give files with which DVC keeps two commands apart, and which a full disk cut off."""
    for folder in PIPELINES:
        file = root / folder / RWLOCK
        try:
            is_whole = not file.exists() or isinstance(json.loads(file.read_text()), dict)
        except ValueError:
            is_whole = False
        if not is_whole:
            found = f"{file} is cut off, as a full disk leaves it, and stops every DVC command"
            yield Finding("fail", found, f"free some space, then `rm {file}` while no DVC runs")


def check_leftovers(root: Path) -> Iterator[Finding]:
    """Give checkpoints of trainings that DVC has not committed, and unfinished files."""
    checkpoints = [path for path in (root / CHECKPOINTS).glob("*") if path.is_file()]
    if checkpoints:
        remedy = f"the same training resumes, others delete it after {KEPT_DAYS} days"
        yield Finding("ok", f"{_sum(checkpoints)} of trainings without a committed model", remedy)
    data = [root / folder / "data" for folder in PIPELINES]
    unfinished = [path for top in data for name in UNFINISHED for path in top.rglob(name)]
    if unfinished:
        remedy = "`uv run dvc repro` resumes a .part; delete the others"
        yield Finding("warn", f"{_sum(unfinished)} of unfinished files", remedy)


CHECKS: dict[str, Callable[[Path], Iterable[Finding]]] = {
    "Python": check_python,
    "environment": check_environment,
    "Git": check_git,
    "device": check_device,
    "disk": check_disk,
    "pinned files": check_pinned,
    **{f"DVC ({folder})": partial(check_dvc, folder=folder) for folder in PIPELINES},
    "DVC's locks": check_locks,
    "MLflow": check_store,
    "leftovers": check_leftovers,
}


def examine(root: Path) -> Iterator[Finding]:
    """Give the findings on the repository at `root`, at least one for each check.

    The checks run at once, as most of them wait for other programs. A check that raises is a
    finding too.
    """
    with ThreadPoolExecutor(max_workers=len(CHECKS)) as pool:
        for found in pool.map(partial(_findings, root), CHECKS):
            yield from found


def _findings(root: Path, check: str) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(CHECKS[check](root))
    except MalariaError as error:  # says what to do
        found.append(Finding("fail", str(error)))
    except Exception as error:
        found.append(Finding("fail", f"cannot be checked ({one_line(error)})", "fix that first"))
    return [replace(finding, check=check) for finding in found or [Finding("ok", "no problem")]]


def _size_of_outs(lock: Path) -> int:
    """Return the bytes of all outputs that a lock records; 0 if there is none."""
    stages = read_yaml(lock).get("stages", {}) if lock.is_file() else {}
    return sum(out.get("size", 0) for stage in stages.values() for out in stage.get("outs", []))


def _sum(paths: Sequence[Path]) -> str:
    size = tqdm.format_sizeof(sum(path.stat().st_size for path in paths), "B")
    return f"{size} in {', '.join(map(str, paths))}"
