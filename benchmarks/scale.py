"""What each stage takes on the whole set: time, CPU time and memory, beside the article's way."""

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.preprocess import find_zip
from benchmarks.process import Cost, environment, measured
from benchmarks.report import publish, spread, table
from malaria import paths
from malaria.core.files import MIRROR
from malaria.core.yaml_files import parse_yaml
from malaria.data.archive import describe, list_cells, open_archive
from malaria.data.known import digest
from malaria.data.layout import ROOT as IN_ZIP
from malaria.pipeline.facts import read_facts
from malaria.pipeline.lock import SCHEMA, with_outs

ROOT = Path(__file__).resolve().parents[1]
ARTICLE = Path(__file__).with_name("article_data.py")
BEFORE_TRAINING = ("fetch", "split", "preprocess", "explore", "controls")
WITH_MODEL = ("predict", "evaluate", "explain", "report")
OF_ARTICLE = ("fetch", "split", "preprocess", "explore")
TRAINED = (paths.MODEL, paths.HISTORY, paths.TRAINED)  # what the stages after training read of it
OURS, THEIRS = "stage", "article"
PACKAGES = ["numpy", "opencv-python-headless", "tensorflow", "keras", "mlflow"]
Costs = dict[tuple[str, str], list[Cost]]  # by stage and side


def main(
    zip_path: Annotated[
        Path | None,
        typer.Option("--zip", help="default: the study's, or the pilot's"),
    ] = None,
    size: Annotated[int, typer.Option(help="pixels a side")] = 125,
    until: Annotated[str, typer.Option(help="the last stage before training")] = "controls",
    run: Annotated[
        Path | None,
        typer.Option(help="a pipeline's folder with a model: predict to report are measured too"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="how often all of it runs")] = 1,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure every stage but train, each in a process of its own, in a temporary folder."""
    if until not in BEFORE_TRAINING:
        sys.exit(f"scale: --until is {until!r}; name one of {', '.join(BEFORE_TRAINING)}")
    if run is not None and until != BEFORE_TRAINING[-1]:
        sys.exit(f"scale: the stages after training need {BEFORE_TRAINING[-1]}; leave --until out")
    source = zip_path or _fetched() or find_zip()
    if source is None:
        sys.exit("scale: no zip of real cells is here; name one with --zip")
    stages = [*BEFORE_TRAINING[: BEFORE_TRAINING.index(until) + 1], *(WITH_MODEL if run else ())]
    costs: Costs = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
            _run_all(Path(folder), source.resolve(), size, stages, run, costs)
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    with open_archive(source) as archive:
        cells = f"{len(list_cells(archive)):,} cells ({describe(archive)})"
    said = f"{cells}, {size} x {size} px, {rounds} rounds."
    publish("scale", f"{said}\n\n{_table(costs, stages)}", PACKAGES, write)


def _run_all(
    folder: Path, source: Path, size: int, stages: list[str], run: Path | None, costs: Costs
) -> None:
    """Run each stage, and beside it the article's step; add to `costs`."""
    workspace, loose = folder / "workspace", folder / "loose"
    _prepare(workspace, source, size, run)
    loose.mkdir()
    env = environment(workspace) | {MIRROR: str(source.parent)}
    store = "from malaria.tracking.store import open_store; from pathlib import Path; "
    store += "open_store(Path.cwd(), 'scale')"  # seconds, once in a repository's life
    measured([sys.executable, "-c", store], workspace, env)
    for stage in stages:
        _note(costs, stage, OURS, measured([sys.executable, "stages", stage], workspace, env))
        _lock(workspace, stage)
        if stage in OF_ARTICLE:
            step = [sys.executable, str(ARTICLE), stage, str(source), str(loose), str(size)]
            _note(costs, stage, THEIRS, measured(step, folder))


def _note(costs: Costs, stage: str, side: str, cost: Cost) -> None:
    costs.setdefault((stage, side), []).append(cost)
    print(f"{stage}, {side}: {cost}", file=sys.stderr, flush=True)


def _prepare(workspace: Path, source: Path, size: int, run: Path | None) -> None:
    """Leave a pipeline's folder in which nothing has run but the training, if there is one."""
    workspace.mkdir()
    for code in ("malaria", "stages"):
        shutil.copytree(ROOT / code, workspace / code, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / paths.PIPELINE, workspace)
    yaml = YAML()
    params = yaml.load((run or ROOT) / paths.PARAMS)
    pins = {"cells": _cells(source), "sha256": _sha256(source)}
    params["fetch"].update(url=str(source), patients="none", synthetic="none", **pins)
    params["mlflow"]["experiment"] = "scale"
    if run is None:
        params["preprocess"]["size"] = size
    elif params["preprocess"]["size"] != size:
        sys.exit(f"scale: {run} has images of {params['preprocess']['size']} px; give it as --size")
    yaml.dump(params, workspace / paths.PARAMS)
    if run is None:
        return
    for path in TRAINED:
        if not (run / path).is_file():
            sys.exit(f"scale: {run / path} is missing; --run needs a folder whose training has run")
        (workspace / path).parent.mkdir(exist_ok=True)
        shutil.copy(run / path, workspace / path)


def _lock(workspace: Path, stage: str) -> None:
    """Add a stage's entry to dvc.lock, so that later ones take its hashes from there, as in DVC."""
    params = parse_yaml((workspace / paths.PARAMS).read_bytes())
    facts = read_facts(workspace, stage, params)
    file, yaml = workspace / paths.LOCK, YAML()
    lock: dict[str, Any] = yaml.load(file) if file.exists() else {"schema": SCHEMA, "stages": {}}
    lock["stages"][stage] = dict(with_outs(facts.entry, facts.stage, workspace).locked)
    yaml.dump(lock, file)


def _table(costs: Costs, stages: list[str]) -> str:
    """Return a row per stage: what both sides took, and the article's times by the stage's."""
    rows = []
    for stage in stages:
        ours, theirs = (costs.get((stage, side), []) for side in (OURS, THEIRS))
        rows.append([f"`{stage}`", *_spreads(ours), *_spreads(theirs), *_ratios(ours, theirs)])
    compared = [stage for stage in stages if stage in OF_ARTICLE]
    sums = [_sums(costs, compared, side) for side in (OURS, THEIRS)]
    rows.append(["those that both have", *_spreads(sums[0]), *_spreads(sums[1]), *_ratios(*sums)])
    heads = [f"{side}: {unit}" for side in (OURS, THEIRS) for unit in ("s", "CPU s", "peak MB")]
    return table(["stage", *heads, "article / stage: s", "CPU s"], rows)


def _spreads(costs: list[Cost]) -> list[str]:
    if not costs:
        return ["-", "-", "-"]
    return [
        spread([cost.wall_s for cost in costs], 1),
        spread([cost.cpu_s for cost in costs], 1),
        spread([cost.peak_mb for cost in costs]),
    ]


def _ratios(ours: list[Cost], theirs: list[Cost]) -> list[str]:
    """Return the article's median wall and CPU time by the stage's."""
    if not theirs:
        return ["-", "-"]
    wall = median(cost.wall_s for cost in theirs) / median(cost.wall_s for cost in ours)
    cpu = median(cost.cpu_s for cost in theirs) / median(cost.cpu_s for cost in ours)
    return [f"{wall:.2f}", f"{cpu:.2f}"]


def _sums(costs: Costs, stages: list[str], side: str) -> list[Cost]:
    """Return, by round, the times of stages one after the other, and the largest of their peaks."""
    return [
        Cost(
            sum(cost.wall_s for cost in together),
            sum(cost.cpu_s for cost in together),
            max(cost.peak_mb for cost in together),
        )
        for together in zip(*(costs[stage, side] for stage in stages), strict=True)
    ]


def _fetched() -> Path | None:
    return ROOT / paths.ZIP if (ROOT / paths.ZIP).exists() else None


def _cells(source: Path) -> str:
    """Return what `fetch.cells` is for a zip that `malaria subset` has made."""
    with open_archive(source) as archive:
        entries = [cell.entry for cell in list_cells(archive)]
        found = {one: hashlib.sha256(archive.read(one)).hexdigest() for one in entries}
    return digest({entry.removeprefix(IN_ZIP): sha256 for entry, sha256 in found.items()})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    typer.run(main)
