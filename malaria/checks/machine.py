"""The machine: Python and its packages, the GPU, Git, and what killed processes left."""

import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from malaria.checkpoint import DAY_S, KEPT_DAYS
from malaria.checks.finding import Finding, ask, shown_size
from malaria.params.base import PARAMS, load
from malaria.params.train import TrainParams
from malaria.pipeline import PIPELINES
from malaria.stage import CHECKPOINTS

PYTHON, PACKAGES, UV, GPU, GIT, LEFT = "Python", "packages", "uv", "GPU", "Git", "left behind"
QUICK_LIMIT_S = 20
KERAS_LIMIT_S = 120
# In a process of its own: Keras takes seconds and keeps a GPU's memory.
ASK_KERAS = """
from malaria import backend
import keras
found = backend.prepare("auto", "float32", seed=0)
print(keras.backend.backend(), found.device, found.share.devices + found.idle)
"""
UNFINISHED = ("*.part", "*.rejected", "*.tmp")


def check_python(root: Path) -> Iterator[Finding]:
    """Give Python, the packages of pyproject.toml and uv."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = SpecifierSet(project["requires-python"])
    running = ".".join(map(str, sys.version_info[:3]))
    if running in wanted:
        yield Finding("ok", PYTHON, f"{running} (wanted: {wanted})")
    else:
        remedy = "`uv sync` makes an environment with one that fits"
        yield Finding("fail", PYTHON, f"{running}, but {wanted} is wanted", remedy)
    faults = list(_unmet(map(Requirement, project["dependencies"])))
    if faults:
        yield Finding("fail", PACKAGES, "; ".join(faults), "`uv sync` installs what is wanted")
    else:
        yield Finding("ok", PACKAGES, f"all {len(project['dependencies'])} are as wanted")
    said = ask(["uv", "--version"], root, QUICK_LIMIT_S)
    if said.code == 0:
        yield Finding("ok", UV, said.out.strip().removeprefix("uv "))
    else:
        remedy = "install it with `pipx install uv`, as every command of README.md begins with it"
        yield Finding("warn", UV, said.error, remedy)


def check_gpu(root: Path) -> Iterator[Finding]:
    """Give the device that Keras' backend would train on, and whether a GPU is passed over."""
    listed = ask(["nvidia-smi", "--list-gpus"], root, QUICK_LIMIT_S)
    there = len(listed.out.splitlines()) if listed.code == 0 else 0
    said = ask([sys.executable, "-c", ASK_KERAS], root, KERAS_LIMIT_S)
    if said.code != 0:
        reason = said.error[-200:]
        remedy = "set KERAS_BACKEND to tensorflow or jax, and `uv sync` (for jax `--extra jax`)"
        yield Finding("fail", GPU, f"Keras does not start ({reason})", remedy)
        return
    backend, device, count = said.out.split()[-3:]
    extra = f"`uv sync --extra {'jax' if backend == 'jax' else 'gpu'}`, and see `nvidia-smi`"
    if device == "gpu":
        yield Finding("ok", GPU, f"Keras' {backend} backend sees {count}")
        return
    for folder in PIPELINES:
        if load(TrainParams, root / folder / PARAMS).device == "gpu":
            found = f"{folder} has train.device gpu, but Keras' {backend} backend sees none"
            yield Finding("fail", GPU, found, f"{extra}; or set it to auto")
    if there:
        found = f"there are {there}, but Keras' {backend} backend sees none"
        yield Finding("warn", GPU, found, extra)
    else:
        yield Finding("ok", GPU, f"none; Keras' {backend} backend trains on the CPU")


def check_git(root: Path) -> Iterator[Finding]:
    """Give whether Git is there with all of its history."""
    said = ask(["git", "rev-parse", "--is-shallow-repository"], root, QUICK_LIMIT_S)
    if said.code != 0:
        remedy = "work in a clone of the repository, and install Git"
        yield Finding("fail", GIT, f"this is no repository that can be read ({said.error})", remedy)
    elif said.out.strip() == "true":
        found = "a shallow clone, whose history ends too early for `malaria gate` and `history`"
        yield Finding("warn", GIT, found, "`git fetch --unshallow`")
    else:
        yield Finding("ok", GIT, "the whole history is here")


def check_leftovers(root: Path) -> Iterator[Finding]:
    """Give checkpoints of trainings that did not end, and files that were not finished."""
    checkpoints = [path for path in (root / CHECKPOINTS).glob("*") if path.is_file()]
    old = [path for path in checkpoints if _days(path) > KEPT_DAYS or path.suffix == ".tmp"]
    new = [path for path in checkpoints if path not in old]
    if new:
        found = f"{_summed(new)} of trainings that did not end; `uv run dvc repro` goes on"
        yield Finding("ok", LEFT, f"checkpoints, {found}")
    if old:
        found = f"checkpoints, {_summed(old)}, that are old or not whole"
        yield Finding("warn", LEFT, found, f"delete them in {CHECKPOINTS}")
    unfinished = [
        path
        for folder in PIPELINES
        for pattern in UNFINISHED
        for path in (root / folder / "data").rglob(pattern)
    ]
    if unfinished:
        shown = ", ".join(str(path.relative_to(root)) for path in unfinished[:3])
        found = f"{_summed(unfinished)} that were not finished ({shown})"
        remedy = "`uv run dvc repro` resumes a .part; delete the others"
        yield Finding("warn", LEFT, found, remedy)
    if not checkpoints and not unfinished:
        yield Finding("ok", LEFT, "nothing")


def _unmet(requirements: Iterator[Requirement]) -> Iterator[str]:
    for wanted in requirements:
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name} is not installed"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} is {found}, but {wanted.specifier} is wanted"


def _days(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / DAY_S


def _summed(paths: list[Path]) -> str:
    count = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
    return f"{count} of {shown_size(sum(path.stat().st_size for path in paths))}"
