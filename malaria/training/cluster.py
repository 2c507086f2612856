"""The processes that train one model together, as the environment names them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from malaria.errors import MalariaError

# Keras' own names.
ADDRESS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"


@dataclass(frozen=True)
class Cluster:
    """The number of processes and which one this is; only the first logs and writes."""

    address: str = ""  # host:port of the first process
    processes: int = 1
    process: int = 0  # counted from 0

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that logs and writes."""
        return self.process == 0


def read_cluster(environ: Mapping[str, str] = os.environ) -> Cluster:
    """Return the cluster that the environment names, or this process by itself.

    Raises MalariaError for variables that are incomplete or do not fit together.
    """
    given = {name: environ[name] for name in (ADDRESS, PROCESSES, PROCESS) if environ.get(name)}
    if not given:
        return Cluster()
    for name in (ADDRESS, PROCESSES, PROCESS):
        if name not in given:
            raise MalariaError(
                f"{name} is not set, but {' and '.join(given)} is; set all three, or none to "
                "train in one process."
            )
    processes, process = (_whole(given, name) for name in (PROCESSES, PROCESS))
    if process >= processes:
        raise MalariaError(
            f"{PROCESS} is {process}, but {PROCESSES} is {processes}; processes are counted from 0."
        )
    return Cluster(given[ADDRESS], processes, process)


def _whole(given: Mapping[str, str], name: str) -> int:
    if not given[name].isdecimal():
        raise MalariaError(f"{name} is {given[name]!r}; it must be a whole number.")
    return int(given[name])
