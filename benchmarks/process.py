"""What a command takes in a process of its own: wall time, CPU time, anonymous memory."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02
MB = 1e6
LOG = "log.txt"


@dataclass(frozen=True)
class Cost:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float  # user and system, of the process and of all that it waited for
    peak_mb: float  # the largest RssAnon of the process and its children together


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without GPUs, with a store of MLflow's and temporary files in `folder`.

    DVC's variables are left out, so a stage takes its working folder for the pipeline's.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    return kept | {
        "CUDA_VISIBLE_DEVICES": "",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TMPDIR": str(folder),  # MLflow leaves lock files there
    }


def measured(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command in a folder and return what it took; its failure ends the benchmark.

    Memory is looked at every 20 ms. Anonymous memory alone: pages of a mapped file count as
    resident too, and cost nothing. Linux only. No other child may end meanwhile.
    """
    peak, before = 0, _cpu_of_children()
    start = time.perf_counter()
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env or environment(folder), stdout=log, stderr=log
        )
        while process.poll() is None:
            peak = max(peak, sum(map(_rss_anon, _tree(process.pid))))
            time.sleep(POLL_S)
    wall = time.perf_counter() - start
    if process.returncode != 0:
        log_text = (folder / LOG).read_text(errors="replace")
        sys.exit(f"{' '.join(command)} failed\n{log_text}")
    return Cost(wall, _cpu_of_children() - before, peak / MB)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree(pid: int) -> list[int]:
    """Return a process and those that it started, as far as they still run."""
    found = [pid]
    for parent in found:  # grows meanwhile
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                continue  # has ended
    return found


def _rss_anon(pid: int) -> int:
    """Return the anonymous memory of a process in bytes, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    values = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(values[0]) * 1024 if values else 0
