"""A base that is ambiguous, or not what its id says, judges nothing."""

import pytest

from malaria.errors import MalariaError
from malaria.gate.folder import gate_all
from malaria.gate.judgement import Outcome
from malaria.gate.parting import parting
from malaria.paths import PREDICTIONS
from tests.gate.branch import Branch
from tests.gate.test_folder import overall, pilot
from tests.gate.test_judge import cells
from tests.git_repo import git


def test_branches_that_merged_each_other_are_judged_when_one_has_all_of_the_other(
    branch: Branch,
) -> None:
    root = branch.root
    branch.commit(cells(loss=2))
    git(root, "checkout", "-q", "-b", "change")
    git(root, "commit", "-q", "--allow-empty", "-m", "no results", date="@2000000000 +0000")
    git(root, "checkout", "-q", "main")
    better = branch.commit(cells())
    git(root, "merge", "-q", "--no-ff", "-m", "main", "change")
    git(root, "checkout", "-q", "change")
    git(root, "merge", "-q", "--no-ff", "-m", "change", better)
    branch.commit(cells(loss=2))  # worse than main's; a merge would take it without a conflict
    for base, head in (("main", "change"), ("change", "main")):
        with pytest.raises(MalariaError, match=rf"2 commits \(.*{better[:8]}.*merge '{base}' into"):
            gate_all(root, base, head)
    git(root, "merge", "-q", "-m", "up to date", "main")
    assert parting(root, "main", "change") == git(root, "rev-parse", "main")
    assert pilot(overall(branch, "change")).judgement.outcome == Outcome.FAIL


def test_a_clone_that_replaces_objects_judges_nothing(branch: Branch) -> None:
    good = branch.commit(cells())
    branch.commit(cells(loss=2))
    path = f"pilot/{PREDICTIONS}"
    git(branch.root, "replace", f"HEAD:{path}", f"{good}:{path}")
    with pytest.raises(MalariaError, match="this clone replaces objects"):
        overall(branch)
    git(branch.root, "replace", "-d", f"HEAD:{path}")
    overall(branch)
