"""Which process logs a run, and whether it is still there.

A killed process leaves its run RUNNING; its tag lets a later one of the same machine see that.
"""

import hashlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from malaria.tracking.index import RUNNING, all_runs
from malaria.tracking.store import EXPERIMENT_ROW, STAGE
from malaria.tracking.write import ERROR, PARENT, PROCESS

KILLED = "KILLED"
WAS_KILLED = "its process has ended without closing the run"
ENDED_STATES = "ZX"  # of a process that is dead and not yet taken note of


def this_process() -> str:
    """Return the tag of this process: host, machine, number, start."""
    return f"{_machine()} {os.getpid()} {_start_of(os.getpid())}"


def has_ended(tags: Mapping[str, str]) -> bool | None:
    """Return whether the process of a run has ended; None where that cannot be known.

    It cannot be known of another machine or container, nor of a run without the tag.
    """
    machine, _, process = tags.get(PROCESS, "").rpartition(" ")[0].rpartition(" ")
    start = tags.get(PROCESS, "").rpartition(" ")[2]
    if machine != _machine() or not process.isdigit():
        return None
    return _start_of(int(process)) != start


def close_ended(client: MlflowClient, experiment_ids: Sequence[str]) -> list[Run]:
    """Close runs and rows whose process has ended, for what they are; return the runs."""
    running = list(all_runs(client, experiment_ids, f"attributes.status = '{RUNNING}'"))
    runs = [run for run in running if run.data.tags.get(STAGE) != EXPERIMENT_ROW]
    ended = [run for run in runs if has_ended(run.data.tags)]
    for run in ended:
        client.set_tag(run.info.run_id, ERROR, WAS_KILLED)
        client.set_terminated(run.info.run_id, KILLED)
    closed = {run.info.run_id for run in ended}
    busy = {run.data.tags.get(PARENT) for run in runs if run.info.run_id not in closed}
    for row in running:
        is_row = row.data.tags.get(STAGE) == EXPERIMENT_ROW and row.info.run_id not in busy
        if is_row and has_ended(row.data.tags):
            client.set_terminated(row.info.run_id, _status_of(client, row))
    return ended


def _status_of(client: MlflowClient, row: Run) -> str:
    """Return the status of a row's last run, which is the row's own."""
    where = f"tags.`{PARENT}` = '{row.info.run_id}'"
    order = ["attributes.start_time DESC"]
    last = client.search_runs([row.info.experiment_id], where, max_results=1, order_by=order)
    return str(last[0].info.status) if last else KILLED


@cache
def _machine() -> str:
    """Return the host's name, and a hash of what else tells machines and containers apart."""
    machine = _read("/etc/machine-id")
    with suppress(OSError):
        machine += str(Path("/proc/self/ns/pid").readlink())  # numbers of processes count from it
    return f"{socket.gethostname()} {hashlib.sha256(machine.encode()).hexdigest()[:12]}"


def _start_of(process: int) -> str:
    """Return when a process was started, '' for one that is not there; no two are the same."""
    stat = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
    if stat:  # its start in ticks since the machine's
        boot = _read("/proc/sys/kernel/random/boot_id")
        return "" if stat[0] in ENDED_STATES else f"{boot}:{stat[19]}"
    if Path("/proc/self/stat").exists():
        return ""
    asked = ["ps", "-o", "lstart=", "-p", str(process)]  # macOS
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return "-".join(found.split())


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
