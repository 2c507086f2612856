"""What a branch has accepted: which results count, and which decisions let them start anew."""

from typing import Any

import pytest

from malaria.core.params import parse
from malaria.gate.accepted import Accepted
from malaria.gate.params import GateParams
from malaria.paths import METRICS
from tests.gate.branch import OTHER, Branch
from tests.gate.test_judge import RULES, cells, evaluated
from tests.git_repo import git


def losses_of(branch: Branch) -> list[float]:
    """Return which of the frames of `cells(loss=...)` count as accepted, the newest first."""
    history = Accepted(branch.root, "pilot", branch.tip)
    found = list(history.like(evaluated(cells()), parse(GateParams, RULES)))
    known = {loss / 10: evaluated(cells(loss=loss / 10)) for loss in range(30)}
    return [next(loss for loss, one in known.items() if one == each) for each in found]


def test_each_result_on_the_test_set_counts_once(branch: Branch) -> None:
    assert losses_of(branch) == []
    branch.commit(cells())
    branch.commit(cells(loss=0.1))
    branch.commit(cells(30))
    branch.commit(cells(loss=0.1), level=0.9)
    branch.commit(cells(loss=0.2))
    (branch.root / "pilot" / METRICS).write_text("{")
    git(branch.root, "commit", "-qam", "broken")
    branch.commit(None)
    assert losses_of(branch) == [0.2, 0.1, 0.0]


def test_only_merges_count_not_what_was_on_the_way(branch: Branch) -> None:
    branch.commit(cells())
    git(branch.root, "switch", "-qc", "side")
    branch.commit(cells(loss=0.1))
    branch.commit(cells(loss=0.2))
    git(branch.root, "switch", "-q", "main")
    git(branch.root, "merge", "-q", "--no-ff", "-m", "merged", "side")
    assert losses_of(branch) == [0.2, 0.0]


def test_a_reset_of_the_yardstick_starts_anew(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(cells(50), baseline_reset=branch.decided())
    branch.commit(cells(loss=0.1), baseline_reset=branch.decided())
    assert losses_of(branch) == [0.1]


@pytest.mark.parametrize("which", ["wrong", "unknown", "later", "no reason", "kept", "no mapping"])
def test_a_void_reset_starts_nothing_anew(branch: Branch, which: str) -> None:
    first = branch.commit(cells())
    second = branch.commit(cells(50))
    entry: Any = {
        "wrong": branch.decided(first),  # other results stood there until now
        "unknown": branch.decided(OTHER),
        "later": branch.decided(second),
        "no reason": branch.decided("HEAD"),
        "kept": branch.decided(second),
        "no mapping": second,
    }[which]
    if which == "kept":  # brought in by a commit that changed no results
        branch.commit(cells(50), baseline_reset=entry)
    if which == "later":
        branch.commit(cells(60))
    branch.commit(cells(loss=0.1), baseline_reset=entry)
    assert losses_of(branch) == [0.1, 0.0]


def test_a_reset_on_the_same_cells_starts_nothing_anew(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(cells(loss=0.1), baseline_reset=branch.decided())
    assert losses_of(branch) == [0.1, 0.0]


def test_a_loss_that_had_to_be_accepted_starts_anew_and_no_other(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(cells(loss=0.1), accept_loss=branch.decided())
    assert losses_of(branch) == [0.1, 0.0]
    branch.commit(cells(loss=2), accept_loss=branch.decided(OTHER))
    assert losses_of(branch) == [2.0, 0.1, 0.0]
    branch.commit(cells())
    branch.commit(cells(loss=1.9), accept_loss=branch.decided())
    assert losses_of(branch) == [1.9]


def test_the_last_results_are_searched_back_to_where_they_were_retired(branch: Branch) -> None:
    def last() -> str | None:
        return Accepted(branch.root, "pilot", branch.tip).last_with_results()

    assert last() is None
    first = branch.commit(cells())
    branch.commit(None)
    branch.commit(None, level=0.9)
    assert last() == first
    branch.commit(None, retired=branch.decided(OTHER))
    assert last() == first  # void
    branch.commit(None, retired=branch.decided())
    assert last() is None
    again = branch.commit(cells(loss=0.3), retired=RULES["retired"])
    assert last() == again
    assert losses_of(branch) == [0.3]


def test_a_loss_that_was_accepted_after_deleted_results_starts_anew(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(None)
    branch.commit(cells(loss=2), accept_loss=branch.decided())
    assert losses_of(branch) == [2.0]


def test_results_on_nearly_the_same_cells_count_too(branch: Branch) -> None:
    branch.commit(cells()[5:])
    branch.commit(cells(loss=0.1).query("patient != 'C1'"))
    branch.commit(cells(loss=0.2).query("patient not in ['C1', 'C2', 'C4']"))
    history = Accepted(branch.root, "pilot", branch.tip)
    found = list(history.like(evaluated(cells()), parse(GateParams, RULES)))
    assert [len(one.cells) for one in found] == [760, 795]
