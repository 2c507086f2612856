"""Params: the repository's own files load, and every fault is named with its remedy."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from malaria.errors import MalariaError
from malaria.params.augment import AugmentParams
from malaria.params.base import load
from malaria.params.evaluate import EvaluateParams
from malaria.params.fetch import FetchParams
from malaria.params.preprocess import PreprocessParams
from malaria.params.split import SplitParams
from malaria.params.study import SECTIONS, MlflowParams, flatten, load_study
from malaria.params.train import TrainParams
from tests.conftest import REPO

ROOT = REPO / "params.yaml"
DEMO = REPO / "demo/params.yaml"
PILOT = REPO / "pilot/params.yaml"
DROPPED = object()
HASH = "0123456789abcdef" * 4
SMEARS = {"infected_patients": 5, "healthy_patients": 5, "cells": 100, "seed": 1}


def changed(folder: Path, changes: dict[str, object], base: Path = ROOT) -> Path:
    """Return a copy of a params file with other values at dotted keys."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(base)
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        section: dict[str, Any] = content
        for parent in parents:
            section = section[parent]
        if value is DROPPED:
            del section[key]
        else:
            section[key] = value
    path = folder / "params.yaml"
    yaml.dump(content, path)
    return path


def edited(folder: Path, old: str, new: str) -> Path:
    """Return a copy of the root's params file in which one line begins otherwise."""
    text = ROOT.read_text()
    assert text.count(f" {old}") == 1
    path = folder / "params.yaml"
    path.write_text(text.replace(f" {old}", f" {new}"))
    return path


def message_of(path: Path) -> str:
    with pytest.raises(MalariaError) as caught:
        load_study(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    return message


@pytest.mark.parametrize("path", [ROOT, DEMO, PILOT], ids=["root", "demo", "pilot"])
def test_the_repositorys_own_params_load(path: Path) -> None:
    assert set(load_study(path)) == {"repo", *(model.section for model in SECTIONS)}
    for model in SECTIONS:
        assert isinstance(load(model, path), model)


def test_a_section_keeps_the_values_of_the_file() -> None:
    assert load(SplitParams, ROOT).fractions.model_dump() == {
        "train": 0.6,
        "val": 0.15,
        "test": 0.25,
    }
    assert load(TrainParams, PILOT).precision == "mixed_bfloat16"
    synthetic = load(FetchParams, DEMO).synthetic
    assert synthetic is not None
    assert synthetic.cells == load_study(DEMO)["fetch"]["synthetic"]["cells"]


@pytest.mark.parametrize(
    ("base", "key", "allowed"),
    [
        (ROOT, "train.epoch", "epochs, batch_size"),
        (ROOT, "augment.channel_shift_range", "rotation_range, width_shift_range"),
        (ROOT, "split.fractions.validation", "(allowed: train, val, test)"),
        (
            DEMO,
            "fetch.synthetic.cell",
            "(allowed: infected_patients, healthy_patients, cells, seed)",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones_beside_it(
    tmp_path: Path, base: Path, key: str, allowed: str
) -> None:
    message = message_of(changed(tmp_path, {key: 3}, base))
    assert f"{key} is no known key" in message
    assert allowed in message


@pytest.mark.parametrize(
    ("base", "key"),
    [
        (ROOT, "train.keep"),
        (ROOT, "split.fractions.val"),
        (ROOT, "augment.fill_mode"),
        (DEMO, "fetch.synthetic.seed"),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, base: Path, key: str) -> None:
    assert f"{key} is missing" in message_of(changed(tmp_path, {key: DROPPED}, base))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("train.epochs", "25", "integer"),
        ("train.epochs", 2.5, "integer"),
        ("train.epochs", True, "integer"),
        ("train.learning_rate", "1e-5", "number"),
        ("train.seed", None, "integer"),
        ("augment.horizontal_flip", 1, "boolean"),
        ("augment.rotation_range", "25", "number"),
        ("split.fractions.train", "0.6", "number"),
        ("preprocess.size", 125.0, "integer"),
        ("fetch.url", 3, "string"),
        ("mlflow.experiment", 3, "string"),
    ],
)
def test_a_value_of_another_type_is_named_and_not_converted(
    tmp_path: Path, key: str, value: object, allowed: str
) -> None:
    message = message_of(changed(tmp_path, {key: value}))
    assert f"{key} is {value!r}: " in message
    assert allowed in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("preprocess.size", 8, "16"),
        ("preprocess.size", 513, "512"),
        ("train.epochs", 0, "1"),
        ("train.batch_size", 0, "1"),
        ("train.learning_rate", 0, "greater than 0"),
        ("train.seed", -1, "0"),
        ("train.seed", 2**32, str(2**32)),
        ("train.model", "resnet", "'basic_cnn', 'vgg19_frozen', 'vgg19_finetuned', 'resnet18'"),
        ("train.optimizer", "lion", "'adam', 'adamw', 'rmsprop' or 'sgd'"),
        ("train.schedule", "cosine", "'constant', 'plateau', 'linear' or 'one_cycle'"),
        ("train.patience", -1, "0"),
        ("train.head_epochs", -1, "0"),
        ("train.body_learning_rate", 0, "greater than 0"),
        ("train.keep", "first", "'best' or 'last'"),
        ("train.device", "tpu", "'auto', 'cpu' or 'gpu'"),
        ("train.precision", "float16", "'auto', 'float32', 'mixed_bfloat16' or 'mixed_float16'"),
        ("train.weights", "ImageNet", "imagenet|none|sha256:"),
        ("train.weights", "imagenet\n", "imagenet|none|sha256:"),
        ("train.weights", "sha256:abc", "imagenet|none|sha256:"),
        ("train.weights", HASH, "imagenet|none|sha256:"),
        ("train.weights", f"sha256:{HASH.upper()}", "imagenet|none|sha256:"),
        ("train.weights", f"sha256:{HASH}0", "imagenet|none|sha256:"),
        ("augment.rotation_range", -1, "0"),
        ("augment.rotation_range", 181, "180"),
        ("augment.engine", None, "'device' or 'generator'"),
        ("augment.zoom_range", "wide", "list"),
        ("augment.zoom_range", [1.0], "at least 2 items"),
        ("augment.brightness_range", 0.2, "list"),
        ("augment.contrast_range", [0.5, 1, 2], "at most 2 items"),
        ("augment.brightness_delta", 2, "1"),
        ("augment.stain_jitter", 1, "less than 1"),
        ("augment.fill_mode", "reflect", "'nearest' or 'constant'"),
        ("split.unit", "slide", "'patient' or 'cell'"),
        ("split.seed", -1, "0"),
        ("split.fractions.test", 0, "greater than 0"),
        ("fetch.sha256", "abc", "64"),
        ("fetch.sha256", HASH.upper(), "64"),
        ("fetch.url", "", "1 character"),
        ("evaluate.threshold", "0.5", "'youden', 'fixed_0.5', 'sensitivity_0.95'"),
        ("gate.level", 1, "less than 1"),
        ("gate.metrics", {}, "at least 1 item"),
        ("gate.metrics.sensitivity.margin", 0, "greater than 0"),
        ("gate.metrics.roc_auc.floor", 95, "less than 1"),
        ("gate.replicates", 100, "1000"),
        ("gate.inconclusive", "pass", "'neutral' or 'fail'"),
        ("mlflow.experiment", "", "1 character"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(
    tmp_path: Path, key: str, value: object, allowed: str
) -> None:
    message = message_of(changed(tmp_path, {key: value}))
    assert f"{key} is {value!r}: " in message
    assert allowed in message.split(f"{key} is {value!r}: ")[1]


@pytest.mark.parametrize(
    ("reset", "fault"),
    [
        ({"commit": "HEAD", "reason": "new hospital's cells"}, "gate.baseline_reset.commit is 'H"),
        ({"commit": HASH[:40], "reason": ""}, "gate.baseline_reset.reason is ''"),
        ({"commit": HASH[:40]}, "gate.baseline_reset.reason is missing"),
    ],
)
def test_a_reset_names_one_commit_and_its_reason(
    tmp_path: Path, reset: dict[str, str], fault: str
) -> None:
    assert fault in message_of(changed(tmp_path, {"gate.baseline_reset": reset}))


def test_a_metric_that_cannot_be_gated_is_named(tmp_path: Path) -> None:
    message = message_of(changed(tmp_path, {"gate.metrics.f1": {"margin": 0.1, "floor": None}}))
    assert "gate.metrics: 'f1' cannot be gated; take sensitivity, specificity, roc_auc" in message


@pytest.mark.parametrize("value", [1, -0.1, 3])
def test_a_zoom_that_turns_the_image_round_is_refused(tmp_path: Path, value: float) -> None:
    message = message_of(changed(tmp_path, {"augment.zoom_range": value}))
    assert f"augment.zoom_range: {value} is not from 0 to below 1" in message


@pytest.mark.parametrize("value", [0, -1, float("inf")])
def test_a_factor_that_is_not_positive_is_named_with_its_place(
    tmp_path: Path, value: float
) -> None:
    message = message_of(changed(tmp_path, {"augment.brightness_range": [value, 1]}))
    assert f"augment.brightness_range.0 is {value}" in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("fetch.synthetic.cells", 10, "60"),
        ("fetch.synthetic.infected_patients", 2, "3"),
        ("fetch.synthetic.seed", "x", "integer"),
    ],
)
def test_a_fault_in_the_smears_has_its_whole_key(
    tmp_path: Path, key: str, value: object, allowed: str
) -> None:
    message = message_of(changed(tmp_path, {key: value}, DEMO))
    assert f"{key} is {value!r}: " in message
    assert allowed in message


@pytest.mark.parametrize(
    ("model", "key", "word"),
    [
        (TrainParams, "learning_rate: null", ".inf"),
        (TrainParams, "learning_rate: null", ".nan"),
        (AugmentParams, "rotation_range: null", ".inf"),
        (AugmentParams, "rotation_range: null", ".nan"),
        (SplitParams, "train: 0.6", ".nan"),
    ],
)
def test_no_number_is_infinite_or_undefined(
    tmp_path: Path, model: type[Any], key: str, word: str
) -> None:
    name = key.split(":")[0]
    path = edited(tmp_path, key, f"{name}: {word}")
    with pytest.raises(MalariaError, match=f"{name} is {word[1:]}"):
        load(model, path)


def test_fractions_that_do_not_add_up_to_one_are_refused(tmp_path: Path) -> None:
    message = message_of(changed(tmp_path, {"split.fractions.train": 0.7}))
    assert "split.fractions: train, val and test add up to 1.1; they must add up to 1" in message


def test_fractions_may_miss_one_by_a_rounding_error(tmp_path: Path) -> None:
    parts = {"train": 0.7, "val": 0.2, "test": 0.1}
    assert 0.7 + 0.2 + 0.1 != 1
    path = changed(tmp_path, {f"split.fractions.{key}": value for key, value in parts.items()})
    assert load(SplitParams, path).fractions.train == 0.7


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"fetch.url": "synthetic"}, "needs a `synthetic` section, and sha256: null"),
        ({"fetch.url": "synthetic", "fetch.sha256": None}, "needs a `synthetic` section"),
        ({"fetch.url": "synthetic", "fetch.synthetic": SMEARS}, "sha256: null"),
        ({"fetch.synthetic": SMEARS}, "synthetic: null"),
        ({"fetch.sha256": None}, "needs the sha256 of its file"),
    ],
)
def test_a_zip_is_either_pinned_by_its_hash_or_drawn_from_a_seed(
    tmp_path: Path, changes: dict[str, object], remedy: str
) -> None:
    message = message_of(changed(tmp_path, changes))
    assert "fetch: url '" in message
    assert remedy in message


def test_all_faults_of_a_section_are_named_at_once(tmp_path: Path) -> None:
    message = message_of(changed(tmp_path, {"train.epochs": 0, "train.keep": DROPPED}))
    assert "train.epochs is 0" in message
    assert "train.keep is missing" in message


def test_an_unknown_section_is_named_with_the_known_ones(tmp_path: Path) -> None:
    message = message_of(changed(tmp_path, {"trian": {}}))
    assert "`trian` is no known section" in message
    assert (
        "repo, fetch, split, preprocess, augment, train, evaluate, explain, gate, mlflow" in message
    )


@pytest.mark.parametrize("section", ["repo", "fetch", "augment", "gate", "mlflow"])
def test_a_missing_section_is_named(tmp_path: Path, section: str) -> None:
    assert f"has no section `{section}`" in message_of(changed(tmp_path, {section: DROPPED}))


def test_a_stage_that_misses_its_section_is_told_so(tmp_path: Path) -> None:
    path = changed(tmp_path, {"evaluate": DROPPED})
    with pytest.raises(MalariaError, match="has no section `evaluate`"):
        load(EvaluateParams, path)


def test_a_stage_reads_its_own_section_only(tmp_path: Path) -> None:
    path = changed(tmp_path, {"train.epochs": 0})
    assert load(PreprocessParams, path).size == 125


@pytest.mark.parametrize("value", [None, 3, []])
def test_a_section_that_is_no_mapping_is_named(tmp_path: Path, value: object) -> None:
    assert f"train is {value!r}: " in message_of(changed(tmp_path, {"train": value}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no mapping"),
        ("- train\n", "holds no mapping"),
        ("train: {epochs: 3\nsplit:\n", "is not readable as YAML"),
        ("repo: .\nrepo: ..\n", "is not readable as YAML"),
        ("repo: \0\n", "is not readable as YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert reason in message_of(path)


def test_a_missing_file_says_where_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MalariaError, match="uv run dvc repro") as caught:
        load(TrainParams)
    assert f"params.yaml is not in {tmp_path}" in str(caught.value)


def test_a_number_without_a_decimal_point_is_a_number(tmp_path: Path) -> None:
    rate = load(TrainParams, edited(tmp_path, "learning_rate: null", "learning_rate: 1e-5"))
    assert rate.learning_rate == 0.00001


def test_a_whole_number_serves_as_a_fraction(tmp_path: Path) -> None:
    params = load(AugmentParams, changed(tmp_path, {"augment.rotation_range": 25}))
    assert params.rotation_range == 25


def test_null_stays_null() -> None:
    augment = load(AugmentParams, ROOT).model_dump()
    assert augment.pop("engine") == "device"
    assert set(augment.values()) == {None}
    assert load(TrainParams, ROOT).learning_rate is None


def test_params_cannot_be_changed_after_loading() -> None:
    train, split = load(TrainParams, ROOT), load(SplitParams, ROOT)
    with pytest.raises(ValidationError, match="frozen"):
        train.epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        split.fractions.train = 0.5


def test_nested_values_are_flattened_under_dotted_keys() -> None:
    nested = {"split": {"fractions": {"train": 0.6}, "seed": 1}, "repo": "."}
    assert flatten(nested) == {"split.fractions.train": 0.6, "split.seed": 1, "repo": "."}


def test_where_runs_are_logged_is_a_section_of_its_own() -> None:
    names = {load(MlflowParams, path).experiment for path in (ROOT, DEMO, PILOT)}
    assert len(names) == 3  # results of the three are never mixed in one table
