"""The runs of an MLflow experiment, found by what `malaria sync` asks for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from malaria.core.params import flatten
from malaria.pipeline.lock import Entry
from malaria.tracking.store import EXPERIMENT_ROW, IDENTITY, STAGE
from malaria.tracking.write import DEP, ENTRY, FOLDER, OUT

PAGE = 1000
FINISHED, RUNNING = "FINISHED", "RUNNING"
SCHEDULED = "SCHEDULED"  # of a row: its model has yet to be evaluated
IS_RUNNING = f"attributes.status = '{RUNNING}'"


@dataclass
class StoredRun:
    """A run as the store has it; what is logged to it is added here too."""

    run_id: str
    status: str
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def stored(run: Run) -> StoredRun:
    """Return a run of MLflow's as a StoredRun."""
    return StoredRun(
        run.info.run_id,
        run.info.status,
        run.info.start_time,
        dict(run.data.tags),
        dict(run.data.params),
        dict(run.data.metrics),
    )


class Index:
    """Runs of one experiment; of several runs of one entry or row, the oldest counts."""

    def __init__(self, runs: Iterable[StoredRun] = ()) -> None:
        """`runs` come in the order of their start."""
        self.runs: dict[str, StoredRun] = {}
        self._by_entry: dict[str, StoredRun] = {}
        self._rows: dict[str, StoredRun] = {}
        self._makers: dict[tuple[str, str], str] = {}
        for run in runs:
            self.add(run)

    def add(self, run: StoredRun) -> None:
        """Take in a new run, or one that has changed."""
        self.runs[run.run_id] = run
        tags = run.tags
        if tags.get(STAGE) == EXPERIMENT_ROW:
            self._rows.setdefault(tags.get(IDENTITY, ""), run)
        if run.status in (FINISHED, RUNNING) and ENTRY in tags:
            before = self._by_entry.setdefault(tags[ENTRY], run)
            if before.status == RUNNING and run.status == FINISHED:  # a finished one counts more
                self._by_entry[tags[ENTRY]] = run
        if run.status == FINISHED:
            for key, hash_ in tags.items():
                if key.startswith(OUT):
                    self._makers.setdefault((key.removeprefix(OUT), hash_), run.run_id)

    def run_of(self, entry: Entry) -> StoredRun | None:
        """Return the run of an entry; one that is not FINISHED is incomplete."""
        return self._by_entry.get(entry.digest)

    def row_of(self, identity: str) -> StoredRun | None:
        """Return the row of an experiment."""
        return self._rows.get(identity)

    def rows(self) -> Iterator[StoredRun]:
        """Give the rows of all experiments."""
        yield from self._rows.values()

    def maker_of(self, path: str, hash_: str) -> str | None:
        """Return the run that left a file; `path` is relative to the repository."""
        return self._makers.get((path, hash_))

    def interrupted(self, entry: Entry) -> Iterator[StoredRun]:
        """Give runs of the same stage, params and inputs that never ended."""
        deps = {f"{DEP}{entry.place(dep.path)}": dep.md5 for dep in entry.deps}
        params = {key: str(value) for key, value in flatten(entry.params).items()}
        for run in self.runs.values():
            tags = run.tags
            if (
                run.status == RUNNING
                and ENTRY not in tags
                and (tags.get(STAGE), tags.get(FOLDER)) == (entry.stage, entry.folder)
                and {key: tags[key] for key in tags if key.startswith(DEP)} == deps
                and all(run.params.get(key, value) == value for key, value in params.items())
            ):
                yield run


def read_index(client: MlflowClient, experiment_ids: Sequence[str]) -> Index:
    """Return all runs of the experiments."""
    return Index(map(stored, all_runs(client, experiment_ids)))


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
    """Return the items of `wanted` that `known` lacks or has with another value."""
    return {key: value for key, value in wanted.items() if known.get(key) != value}
