"""What is registered, what a version keeps, and what its description keeps of the model card."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from malaria.data.images import RESIZED
from malaria.errors import MalariaError
from malaria.registry.register import DESCRIPTION_LIMIT, Registered, describe, register
from malaria.tracking.store import open_store
from tests.conftest import REPO
from tests.gate.test_judge import cells
from tests.git_repo import git
from tests.registry.conftest import NAME, Lab

slow = pytest.mark.slow  # each registration asks DVC
MODEL = "pilot/models/model.keras"


@slow
def test_a_version_has_all_and_is_not_registered_twice(lab: Lab) -> None:
    assert lab.register() == Registered(NAME, "1", is_new=False)
    tags = lab.tags("1")
    lock = (lab.pilot / "dvc.lock").read_text()
    for key in ("dep.pilot/data/cells.csv", "dep.pilot/data/raw/cell_images.zip", "malaria.model"):
        assert f"md5: {tags[key]}" in lock
    metrics = json.loads((lab.pilot / "reports/metrics.json").read_text())
    assert tags["malaria.threshold"] == "0.5"
    assert tags["malaria.resize"] == RESIZED
    assert float(tags["test.sensitivity"]) == metrics["test"]["sensitivity"]
    assert tags["malaria.commit"] == git(lab.root, "rev-parse", "HEAD")
    client = MlflowClient(f"sqlite:///{lab.root}/mlflow.db")
    version = client.get_model_version(NAME, "1")
    assert version.description == "# Model card: made up"
    row, train = client.get_run(str(version.run_id)), client.get_run(tags["malaria.run.train"])
    assert row.data.tags["malaria.identity"] == tags["malaria.identity"]
    assert train.data.tags[f"out.{MODEL}"] == tags["malaria.model"]
    (logged,) = client.search_logged_models([row.info.experiment_id])
    assert (logged.source_run_id, logged.status) == (train.info.run_id, "READY")
    (data,) = (lab.root / "mlartifacts").rglob("data/classifier")
    assert sorted(file.name for file in data.iterdir()) == [
        *("metrics.json", "model.keras", "model_card.md", "predictions.csv")
    ]
    assert (data / "model.keras").read_text() == "A"
    package = data.parents[1] / "code/malaria"
    assert (package / "__init__.py").is_file()
    assert (package / "registry/serving.py").is_file()


@slow
def test_another_model_is_another_version_and_an_old_one_becomes_candidate_again(lab: Lab) -> None:
    first = git(lab.root, "rev-parse", "HEAD")
    lab.evaluate("B", cells())
    assert lab.register() == Registered(NAME, "2", is_new=True)
    lab.back_to(first)
    assert lab.register() == Registered(NAME, "1", is_new=False)
    assert lab.aliases() == {"candidate": "1"}


@slow
def test_a_model_without_its_runs_is_not_registered(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lab.evaluate("B", cells())
    client, _ = open_store(lab.root, NAME)
    spoil: list[Callable[[str], object]] = [
        lambda train: client.set_tag(train, f"out.{MODEL}", "of another model"),
        client.delete_run,
        lambda train: None,
    ]
    for change in spoil:
        with pytest.raises(MalariaError, match=r"has no run of pilot/models/model\.keras \(MD5"):
            register(lab.root, "pilot")
        change(lab.log())
    assert register(lab.root, "pilot") == Registered(NAME, "2", is_new=True)
    assert not list(tmp_path.glob("mlflow*"))  # the working folder does not matter


@slow
def test_what_is_not_the_run_of_the_lock_is_not_registered(lab: Lab) -> None:
    (lab.pilot / "reports/model_card.md").write_text("# Another\n")
    with pytest.raises(MalariaError, match=r"model_card\.md has the MD5 .* or run `uv run dvc --c"):
        lab.register()
    git(lab.root, "checkout", "-q", ".")
    params = (lab.pilot / "params.yaml").read_text()
    (lab.pilot / "params.yaml").write_text(params.replace("fixed_0.5", "youden"))
    with pytest.raises(MalariaError, match=r"lock of pilot does not match .* is \"youden\", but"):
        lab.register()
    git(lab.root, "checkout", "-q", ".")
    (lab.root / MODEL).unlink()
    with pytest.raises(MalariaError, match=r"model\.keras is missing; make it with `uv run dvc -"):
        register(lab.root, "pilot")


def card(*lengths: int) -> str:
    sections = [f"## Part {number}\n\n{'x' * count}" for number, count in enumerate(lengths)]
    return "# Model card: a\n\nOne line.\n\n" + "\n\n".join(sections) + "\n"


def test_a_card_that_fits_is_kept_whole() -> None:
    assert describe(card(100, 200)) == card(100, 200).strip()


def test_the_longest_sections_are_dropped_and_named() -> None:
    text = describe(card(1000, 6000, 2000))
    assert len(text) <= DESCRIPTION_LIMIT
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == ["# Model card: a", "## Part 0", "## Part 2"]
    assert text.endswith("\n\nLeft out: Part 1. model_card.md is in the artifacts.")


def test_the_pilots_card_keeps_what_it_must_not_be_used_for() -> None:
    text = describe((REPO / "pilot/reports/model_card.md").read_text())
    assert len(text) <= DESCRIPTION_LIMIT
    for part in ("must not be used for diagnosis", "## Results", "## Limits"):
        assert part in text
    assert "![" not in text
