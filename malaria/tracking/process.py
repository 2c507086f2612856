"""Which process logs a run, and whether it is still there.

A killed process leaves its run RUNNING; its tag lets a later one of the same machine see that.
"""

import hashlib
import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from malaria.tracking.write import PROCESS

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
