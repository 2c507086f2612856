"""Seconds that `malaria sync` takes to make the runs of many revisions, and to find none new."""

import json
import shutil
import sys
import time
import zipfile
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.checkout import MALARIA, REPRO, SMALL, Checkout, change_params, temporary_checkout
from benchmarks.report import publish, spread, table, verdict
from malaria.core.yaml_files import read_yaml
from malaria.pipeline.cache import cached_path
from malaria.pipeline.stages import Stage, files_at, md5_at, read_stages

CLAIM_S = 60  # for CLAIM_REVISIONS
CLAIM_REVISIONS = 100
SYNC = [*MALARIA, "sync", "--all-commits", "--json"]
ANEW = (
    "train",
    "predict",
    "evaluate",
    "explain",
    "report",
)  # the stages that another seed of training runs


def main(
    revisions: Annotated[int, typer.Option(min=1, help="commits with a lock of their own")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="how often a store is made")] = 3,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Run a small demo once, commit it as if trained with many seeds, and sync the history."""
    with temporary_checkout(SMALL) as checkout:
        print("running the small demo once ...", file=sys.stderr)
        checkout.run(REPRO)
        checkout.commit("the first results")
        for seed in range(1, revisions):
            add_revision(checkout, seed)
        publish("sync", compare(checkout, revisions, rounds), ["mlflow", "dvc"], write)


def add_revision(checkout: Checkout, seed: int) -> None:
    """Commit what a training with another seed would leave; its bytes differ, its values do not."""
    demo = checkout.root / "demo"
    change_params(demo / "params.yaml", {"train": {"seed": seed}})
    stages = read_stages(demo, read_yaml(demo / "params.yaml"))
    lock = deepcopy(read_yaml(demo / "dvc.lock"))  # read_yaml shares its values
    new = {
        out: change(checkout, out, out in stages[name].cached)
        for name in ANEW
        for out in stages[name].outs
    }
    for name in ANEW:
        _relock(lock["stages"][name], stages[name], new, seed)
    YAML().dump(lock, demo / "dvc.lock")
    checkout.commit(f"seed {seed}")


def change(checkout: Checkout, out: str, is_cached: bool) -> tuple[str, int]:
    """Change an output so that it reads the same; return its MD5 and size."""
    demo = checkout.root / "demo"
    files = [demo / out / name for name in files_at(demo, out)] or [demo / out]
    path = min(files)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment += b" "
    else:
        with path.open("ab") as file:
            file.write(b"\n")
    md5 = md5_at(demo, out)
    if is_cached:
        kept = cached_path(checkout.root / ".dvc/cache", md5)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
    return md5, sum(file.stat().st_size for file in files)


def _relock(
    locked: dict[str, Any], stage: Stage, new: dict[str, tuple[str, int]], seed: int
) -> None:
    for file in [*locked["deps"], *locked["outs"]]:
        if file["path"] in new:
            file["md5"], file["size"] = new[file["path"]]
    for values in locked.get("params", {}).values():
        if "train" in values:
            values["train"]["seed"] = seed


def compare(checkout: Checkout, revisions: int, rounds: int) -> str:
    """Return the table of the first and the second call, on `rounds` fresh stores."""
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    for number in range(rounds):
        for path in checkout.root.glob("mlflow.db*"):
            path.unlink()
        shutil.rmtree(checkout.root / "mlartifacts", ignore_errors=True)
        for side, taken in seconds.items():
            start = time.perf_counter()
            result = json.loads(checkout.run(SYNC))
            taken.append(time.perf_counter() - start)
            done = {
                kind: result[kind]["made"] if side == "first" else result[kind]["complete"]
                for kind in ("runs", "rows")
            }
            print(f"round {number + 1}, {side}: {taken[-1]:.1f} s, {done}", file=sys.stderr)
            left = [out["path"] for out in result["skipped"] if out["path"].startswith("demo/")]
            changed = result["runs"]["completed"] + result["rows"]["completed"]
            if left or changed or (side == "second" and result["runs"]["made"]):
                sys.exit(f"sync: the {side} call gave {result}")
    first = median(seconds["first"])
    cached = sum(path.stat().st_size for path in (checkout.root / "mlartifacts").rglob("*"))
    header = ["call", "seconds: median (min to max)", "revisions/s"]
    rows = [
        ["the first, into a store that is not there yet", spread(seconds["first"], 1)],
        ["the second, with nothing to make", spread(seconds["second"], 1)],
    ]
    for row, side in zip(rows, seconds, strict=True):
        row.append(f"{revisions / median(seconds[side]):.1f}")
    limit = CLAIM_S * revisions / CLAIM_REVISIONS
    return "\n\n".join(
        [
            f"{revisions} revisions, {done['rows']} experiments, {done['runs']} runs, "
            f"{cached / 1e6:,.0f} MB of artifacts, {rounds} rounds.",
            table(header, rows),
            f"Seconds of the first call: {verdict(first, limit, at_least=False)}.",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
