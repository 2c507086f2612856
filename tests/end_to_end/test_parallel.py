"""Many processes that write to one sqlite store at once, from the moment that makes it."""

from pathlib import Path

import pytest

from .conftest import Checkout, NewCheckout, ended
from .store import runs_in, uri_of
from .test_slow import queue_logs, wait_for_queue

pytestmark = pytest.mark.slow
FAULTS = ("database is locked", "OperationalError", "mlflow: ")
WRITERS = 12
TRAIN, STAGES = "train", ("fetch", "preprocess", "split", "train")
WRITE = """
import sys
from pathlib import Path
from malaria.tracking.store import open_store
client, experiment = open_store(Path.cwd(), "first")
run = client.create_run(experiment)
client.log_param(run.info.run_id, "writer", sys.argv[1])
client.set_terminated(run.info.run_id)
"""


def test_four_experiments_at_once_begin_the_store_and_lose_no_run(
    new_checkout: NewCheckout,
) -> None:
    checkout = new_checkout("parallel")
    # Other cells each, so that no experiment finds a stage of another in the run cache.
    seed = "fetch.synthetic.seed="
    checkout.dvc("exp", "run", "--queue", TRAIN, "-S", f"{seed}1,2")
    checkout.dvc("queue", "start", "--jobs", "2")
    temporary = ("-m", "dvc", "exp", "run", "--temp", TRAIN)
    by_hand = [
        checkout.start(*temporary, "-S", f"{seed}{value}", cwd=checkout.demo) for value in (3, 4)
    ]
    printed = [ended(process, 900) for process in by_hand]
    wait_for_queue(checkout, 2)
    for log in (*printed, queue_logs(checkout)):
        assert "Running stage" in log
        assert [fault for fault in FAULTS if fault in log] == [], log

    runs = runs_in(uri_of(checkout))
    rows = [run for run in runs if run.data.tags["malaria.stage"] == "experiment"]
    assert {run.data.params["fetch.synthetic.seed"] for run in rows} == {"1", "2", "3", "4"}
    assert {run.info.status for run in runs if run not in rows} == {"FINISHED"}
    made = sorted(
        (run.data.tags["mlflow.parentRunId"], run.data.tags["malaria.stage"])
        for run in runs
        if run not in rows
    )
    assert made == sorted((row.info.run_id, stage) for row in rows for stage in STAGES)
    trained = [run for run in runs if run.data.tags["malaria.stage"] == "train"]
    assert all(run.data.metrics["kept_epoch"] >= 1 for run in trained)
    for run in trained:  # also of those that ran in a checkout that is gone
        artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
        assert checkout.root in artifacts.parents
        assert (artifacts / "history.csv").is_file()


def test_a_dozen_processes_make_the_store_together(finished: Checkout, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, finished.env)
    writers = [checkout.start("-c", WRITE, str(number)) for number in range(WRITERS)]
    assert [ended(writer, 300) for writer in writers] == [""] * WRITERS
    found = runs_in(uri_of(checkout), "")
    assert {run.data.params["writer"] for run in found} == set(map(str, range(WRITERS)))
    assert {run.info.status for run in found} == {"FINISHED"}
