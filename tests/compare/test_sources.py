"""What a person can name, and what is refused in one sentence."""

import re
from pathlib import Path

import pytest

from malaria.compare.side import read_side
from malaria.compare.sources import find_sources, folder_of
from malaria.errors import MalariaError
from malaria.paths import HISTORY, LOCK, METRICS, PARAMS, PREDICTIONS
from tests.gate.test_judge import cells
from tests.git_repo import git, keep_as_experiment

from .pipeline import FOLDER, Pipeline


def named(pipeline: Pipeline, *names: str) -> list[tuple[str, str]]:
    return [(one.name, one.kind) for one in find_sources(pipeline.root, FOLDER, names)]


def keep(pipeline: Pipeline, name: str, *paths: str) -> Path:
    """Keep results in the folder's `experiments/`, as `malaria collect` does."""
    kept = pipeline.folder / "experiments" / name
    kept.mkdir(parents=True)
    for path in paths:
        (kept / Path(path).name).write_bytes((pipeline.folder / path).read_bytes())
    return kept


def test_revisions_experiments_folders_and_the_work_tree_are_found(pipeline: Pipeline) -> None:
    pipeline.write(cells(loss=0.5))
    keep_as_experiment(pipeline.root, "tried")
    keep(pipeline, "kept", METRICS, PARAMS)
    assert named(pipeline, "before", "tried", "kept", "workspace") == [
        ("before", "Git revision"),
        ("tried", "DVC experiment"),
        ("kept", "kept experiment"),
        ("workspace", "work tree"),
    ]
    assert named(pipeline, "pilot/experiments/kept", "HEAD~1")[0] == ("kept", "kept experiment")
    assert folder_of(pipeline.root, ["before", "pilot/experiments/kept"]) == FOLDER
    assert folder_of(pipeline.root, ["before", "after"]) is None


def test_a_series_is_all_its_runs_in_order(pipeline: Pipeline) -> None:
    for fold in (1, 2, 10):
        pipeline.write(cells(loss=fold / 10))
        keep_as_experiment(pipeline.root, f"cv-fold{fold}", baseline="abc"[fold % 3])
    found = [name for name, _ in named(pipeline, "cv")]
    assert found == ["cv-fold1", "cv-fold2", "cv-fold10"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["before", "never"],
            r"^'never' is no Git revision, DVC experiment or series, ",
        ),
        (["before", "--all"], r"^'--all' is no Git revision"),
        (["before", "0" * 32], r"^'0{32}' is no Git revision"),
        (["before"], "needs two or more different models"),
        (["before", "before"], "needs two or more different models"),
    ],
)
def test_names_of_nothing_and_of_one_model_are_refused(
    pipeline: Pipeline, names: list[str], said: str
) -> None:
    with pytest.raises(MalariaError, match=said):
        find_sources(pipeline.root, FOLDER, names)


def test_params_and_code_are_those_behind_the_results(pipeline: Pipeline) -> None:
    before, after = map(read_side, find_sources(pipeline.root, FOLDER, ["before", "after"]))
    assert (before.params["train.epochs"], after.params["train.epochs"]) == ("2", "3")
    assert set(before.code) == {"malaria/training"}  # not the left-over report's
    assert before.code != after.code
    assert after.evaluated is not None
    assert after.evaluated.threshold == 0.45
    assert after.history is not None
    assert after.history["epoch"].tolist() == [1, 2, 3]


def test_a_kept_experiment_has_its_params_without_those_that_no_stage_reads(
    pipeline: Pipeline,
) -> None:
    keep(pipeline, "kept", METRICS, PARAMS)
    (kept, _) = map(read_side, find_sources(pipeline.root, FOLDER, ["kept", "before"]))
    assert kept.params["train.epochs"] == "3"
    assert not any(key.startswith(("gate.", "mlflow.")) for key in kept.params)
    assert (kept.evaluated, kept.history, kept.code) == (None, None, {})
    assert 0 < kept.metrics["sensitivity"] < 1


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        (PREDICTIONS, None, "has no reports/predictions.csv, so it has no results"),
        (METRICS, None, "has no reports/metrics.json, so it has no results"),
        (METRICS, b"{", "is not JSON"),
        (METRICS, b'{"test": {"threshold": 0.5, "accuracy": "high"}}', "is not JSON with numbers"),
        (PREDICTIONS, b"cell_id,patient\n", "is not readable"),
        (HISTORY, b"", "its last line is cut off"),
        (HISTORY, b"epoch,loss,val_loss\n1,0.5,0.5\n2,0.", "its last line is cut off"),
        (HISTORY, b"epoch,loss\n1,0.5\n", "no whole rows with the columns epoch and val_loss"),
        (HISTORY, b"epoch,loss,val_loss\n1,high,0.5\n", "could not convert"),
        (LOCK, b"stages: [", "is not readable as YAML"),
        (LOCK, b"schema: '1.0'\n", "has the schema"),
        (LOCK, b"schema: '2.0'\nstages: {evaluate: {outs: [{}]}}\n", "has an entry"),
    ],
)
def test_broken_and_half_files_are_named_in_one_sentence(
    pipeline: Pipeline, path: str, content: bytes | None, said: str
) -> None:
    if content is None:
        (pipeline.folder / path).unlink()
    else:
        (pipeline.folder / path).write_bytes(content)
    source = find_sources(pipeline.root, FOLDER, ["before", "workspace"])[1]
    with pytest.raises(MalariaError, match=said) as refused:
        read_side(source)
    assert "\n" not in str(refused.value)
    assert re.search(r"work tree workspace", str(refused.value))


def test_an_experiment_of_another_folder_is_named(pipeline: Pipeline) -> None:
    (pipeline.root / "demo").mkdir()
    source = find_sources(pipeline.root, "demo", ["before", "after"])[0]
    with pytest.raises(MalariaError, match=r"Git revision before has no .*pipeline with --folder"):
        read_side(source)


def test_the_subject_of_a_commit_may_be_anything(pipeline: Pipeline) -> None:
    git(pipeline.root, "commit", "-q", "--allow-empty", "-m", "one\n\ntwo \u202e <i>")
    assert "one" in find_sources(pipeline.root, FOLDER, ["HEAD", "before"])[0].about
