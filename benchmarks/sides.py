"""A side of a comparison in a process of its own: precision and determinism are a process' own."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run_side(module: str, options: Mapping[str, object]) -> dict[str, Any]:
    """Return what `python -m benchmarks.<module> --key value ...` prints as its last line, JSON."""
    arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed\n{result.stdout}{result.stderr}")
    return dict(json.loads(result.stdout.splitlines()[-1]))


def in_turn(
    module: str, sides: Sequence[str], rounds: int, options: Mapping[str, object]
) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each side, measured A B A B."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            results[side].append(run_side(module, {"side": side, **options}))
            print(f"round {number + 1}, {side}: {results[side][-1]}", file=sys.stderr, flush=True)
    return results
