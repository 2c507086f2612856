"""The processes that the environment names."""

import pytest

from malaria.errors import MalariaError
from malaria.training.cluster import ADDRESS, PROCESS, PROCESSES, Cluster, read_cluster

TWO = {ADDRESS: "10.0.0.1:1234", PROCESSES: "2", PROCESS: "1"}


def test_without_the_variables_a_process_is_alone() -> None:
    assert read_cluster({}) == Cluster()
    assert read_cluster(dict.fromkeys(TWO, "")) == Cluster()
    assert Cluster().is_first


def test_the_variables_name_the_cluster() -> None:
    assert read_cluster(TWO) == Cluster("10.0.0.1:1234", 2, 1)
    assert not read_cluster(TWO).is_first
    assert read_cluster(TWO | {PROCESS: "0"}).is_first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({ADDRESS: ""}, f"{ADDRESS} is not set, but {PROCESSES} and {PROCESS} is"),
        ({PROCESS: ""}, f"{PROCESS} is not set"),
        ({PROCESS: "2"}, f"{PROCESS} is 2, but {PROCESSES} is 2"),
        ({PROCESS: "-1"}, f"{PROCESS} is '-1'; it must be a whole number"),
        ({PROCESSES: "two"}, f"{PROCESSES} is 'two'; it must be a whole number"),
    ],
)
def test_variables_that_do_not_fit_together_are_named(changes: dict[str, str], said: str) -> None:
    with pytest.raises(MalariaError, match=said):
        read_cluster(TWO | changes)
