"""What an experiment of the MLflow store holds, found by what `malaria sync` asks for."""

import malaria.quiet_mlflow  # noqa: F401

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from malaria.entry import Entry
from malaria.logged import DEP, ENTRY, FOLDER, OUT
from malaria.params.study import flatten
from malaria.store import EXPERIMENT_ROW, IDENTITY, STAGE

PAGE = 1000
FINISHED, RUNNING = "FINISHED", "RUNNING"


@dataclass
class Known:
    """A run as the store has it; what is logged to it is put here too."""

    run_id: str
    status: str
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class Index:
    """The active runs of one experiment."""

    def __init__(self, runs: Iterable[Run]) -> None:
        """The oldest run of an entry or of an experiment counts, where there are several."""
        self.runs: dict[str, Known] = {}
        self._by_entry: dict[str, Known] = {}
        self._rows: dict[str, Known] = {}
        self._makers: dict[tuple[str, str], str] = {}
        for run in runs:
            self.add(
                Known(
                    run.info.run_id,
                    run.info.status,
                    run.info.start_time,
                    dict(run.data.tags),
                    dict(run.data.params),
                    dict(run.data.metrics),
                )
            )

    def add(self, known: Known) -> None:
        """Take a run in, or what has become of it."""
        self.runs[known.run_id] = known
        tags = known.tags
        if tags.get(STAGE) == EXPERIMENT_ROW:
            self._rows.setdefault(tags.get(IDENTITY, ""), known)
        if known.status in (FINISHED, RUNNING) and ENTRY in tags:
            before = self._by_entry.setdefault(tags[ENTRY], known)
            if before.status == RUNNING:  # half made: a whole one counts more
                self._by_entry[tags[ENTRY]] = known if known.status == FINISHED else before
        if known.status == FINISHED:
            for key, hash_ in tags.items():
                if key.startswith(OUT):
                    self._makers.setdefault((key.removeprefix(OUT), hash_), known.run_id)

    def run_of(self, entry: Entry) -> Known | None:
        """Return the run of an entry; one that is not FINISHED was left half made."""
        return self._by_entry.get(entry.digest)

    def row_of(self, identity: str) -> Known | None:
        """Return the row of an experiment."""
        return self._rows.get(identity)

    def maker_of(self, path: str, hash_: str) -> str | None:
        """Return the run that left a file; `path` is seen from the repository."""
        return self._makers.get((path, hash_))

    def cut_off(self, entry: Entry) -> Iterator[Known]:
        """Give runs of the same stage, params and inputs that never ended: logging was cut off."""
        deps = {f"{DEP}{entry.place(dep.path)}": dep.md5 for dep in entry.deps}
        params = {key: str(value) for key, value in flatten(entry.params).items()}
        for known in self.runs.values():
            tags = known.tags
            if (
                known.status == RUNNING
                and ENTRY not in tags
                and (tags.get(STAGE), tags.get(FOLDER)) == (entry.stage, entry.folder)
                and {key: tags[key] for key in tags if key.startswith(DEP)} == deps
                and all(known.params.get(key, value) == value for key, value in params.items())
            ):
                yield known


def read_index(client: MlflowClient, experiment_ids: Sequence[str]) -> Index:
    """Return what the experiments hold, the oldest run first."""
    return Index(all_runs(client, experiment_ids))


def all_runs(client: MlflowClient, experiment_ids: Sequence[str], where: str = "") -> Iterator[Run]:
    """Give the active runs of the experiments, the oldest first."""
    token = None
    while True:
        page = client.search_runs(
            list(experiment_ids),
            where,
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def unlike(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not known yet, or known otherwise."""
    return {key: value for key, value in wanted.items() if known.get(key) != value}
