"""Locks at revisions: which are chosen, how they are read, what is told of broken ones."""

from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.pipeline.history import (
    Revision,
    State,
    history,
    open_files,
    read_states,
    select,
    worktree,
)
from tests.git_repo import git, keep_as_experiment
from tests.lock_repo import LockRepo


@pytest.fixture
def repo(tmp_path: Path) -> LockRepo:
    return LockRepo(tmp_path / "repo")


def run(repo: LockRepo, epochs: int) -> str:
    return repo.run_and_commit(train={"epochs": epochs})


def chosen(repo: LockRepo, rev: str | None = None, every: bool = False) -> list[str]:
    return [revision.commit for revision in select(repo.root, rev, every, False)]


def states_at(repo: LockRepo, revisions: list[Revision]) -> list[State]:
    with open_files(repo.root) as files:
        return read_states(files, revisions, [])


def test_a_range_is_its_commits_that_changed_a_lock_and_its_end(repo: LockRepo) -> None:
    commits = [run(repo, epochs) for epochs in (2, 3, 4)]
    (repo.root / "notes").touch()
    end = repo.commit("no lock")
    assert chosen(repo, f"{commits[0]}..HEAD") == [*commits[1:], end]
    assert chosen(repo, f"{commits[0]}..") == [*commits[1:], end]
    assert chosen(repo, commits[1]) == [commits[1]]
    assert chosen(repo, "HEAD..HEAD") == [end]


def test_all_commits_are_those_of_all_branches_and_tags_but_of_no_experiment(
    repo: LockRepo,
) -> None:
    base = git(repo.root, "rev-parse", "HEAD")
    commits = [run(repo, 2)]
    git(repo.root, "checkout", "-q", "-b", "other", base)
    commits.append(run(repo, 3))
    git(repo.root, "checkout", "-q", "--detach", base)
    commits.append(run(repo, 4))
    git(repo.root, "tag", "kept")
    git(repo.root, "checkout", "-q", "main")
    repo.set_params(train={"epochs": 5})
    repo.run()
    keep_as_experiment(repo.root, "longer")
    assert chosen(repo, every=True) == commits


def test_experiments_are_compared_with_the_commit_that_they_began_on(repo: LockRepo) -> None:
    baseline = run(repo, 2)
    for name in ("longer", "shorter"):
        repo.set_params(train={"epochs": len(name)})
        repo.run()
        keep_as_experiment(repo.root, name)
    git(repo.root, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")  # DVC's own
    found = select(repo.root, None, False, True)
    assert [(each.experiment, each.parent) for each in found] == [
        ("longer", baseline),
        ("shorter", baseline),
    ]


@pytest.mark.parametrize("rev", ["nothing", "HEAD..nothing", "nothing..HEAD", "--all"])
def test_a_revision_that_is_not_there_is_named(repo: LockRepo, rev: str) -> None:
    with pytest.raises(MalariaError, match=r"^no commit is called '(nothing|--all)' here; fetch"):
        chosen(repo, rev)


def test_three_dots_are_refused(repo: LockRepo) -> None:
    with pytest.raises(MalariaError, match=r"--rev is 'HEAD\.\.\.HEAD'; write A\.\.B, or one rev"):
        chosen(repo, "HEAD...HEAD")


def test_history_of_a_shallow_clone_is_refused(repo: LockRepo, tmp_path: Path) -> None:
    run(repo, 2)
    git(tmp_path, "clone", "-q", "--depth=1", repo.root.as_uri(), "shallow")
    for rev, every in (("HEAD~1..HEAD", False), (None, True)):
        with pytest.raises(MalariaError, match="is a shallow clone, whose history ends too early"):
            select(tmp_path / "shallow", rev, every, False)


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match="is in no Git repository"):
        worktree(tmp_path)


def test_equal_locks_are_one_state_with_all_their_revisions(repo: LockRepo) -> None:
    commits = [run(repo, 2), run(repo, 3), run(repo, 2)]
    revisions = [*select(repo.root, None, True, False), worktree(repo.root)]
    first, second = states_at(repo, revisions)
    assert [each.commit for each in first.revisions] == [commits[0], commits[2], commits[2]]
    assert [each.is_worktree for each in first.revisions] == [False, False, True]
    assert [each.commit for each in second.revisions] == [commits[1]]
    assert first.entries["train"].params["train.epochs"] == 2


def test_the_history_of_the_work_tree_is_all_that_led_to_it(repo: LockRepo) -> None:
    commits = [run(repo, 2), run(repo, 3)]
    git(repo.root, "checkout", "-q", "-b", "other", commits[0])
    run(repo, 4)
    git(repo.root, "checkout", "-q", "main")
    found = history(repo.root, [worktree(repo.root)])
    assert [each.commit for each in found] == commits
    assert found[1].parent == commits[0]
    assert found[0].time_ms == 1_700_000_120_000


def test_files_are_read_at_commits_and_in_the_work_tree(repo: LockRepo) -> None:
    commit = Revision(run(repo, 2), 0, None)
    repo.set_params(train={"epochs": 7})
    now = worktree(repo.root)
    with open_files(repo.root) as files:
        assert files.params(commit, "demo")["train"]["epochs"] == 2
        assert files.params(now, "demo")["train"]["epochs"] == 7
        assert files.params(commit, "pilot") == {}
        assert list(files.stages(commit, "demo")) == ["split", "side", "train", "evaluate"]
        assert files.stages(now, "demo")["train"].cmd == "python stages/train.py"
        assert files.read(commit, "demo") is None  # a folder is no file
        assert files.read(commit, "no such file") is None
        assert files.read(now, "no such file") is None
        assert files.read(commit, "demo/params.yaml") is not None  # the process still answers
        (repo.folder / "dvc.yaml").write_text("stages: 3\n")
        assert files.stages(now, "demo") == {}
