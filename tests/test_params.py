"""The repository's three params files load, and impossible values are named with their remedy."""

import copy
from functools import reduce
from operator import getitem
from typing import Any, get_args

import pytest

from malaria.core.params import load, parse
from malaria.core.yaml_files import read_yaml
from malaria.data.params import FetchParams, PreprocessParams, SplitParams
from malaria.errors import MalariaError
from malaria.params import SECTIONS, MlflowParams, check_study, load_study
from malaria.training.params import AugmentParams, TrainParams
from tests.conftest import REPO

ROOT, DEMO, PILOT = (REPO / folder / "params.yaml" for folder in (".", "demo", "pilot"))
DROPPED = object()
HASH = "0123456789abcdef" * 4
SMEARS = {"infected_patients": 5, "healthy_patients": 5, "cells": 100, "seed": 1}
INF, NAN = float("inf"), float("nan")
PINS = {"download": HASH, "patients": "patients.txt", "cells": HASH, "sha256": HASH}
DRAWN: dict[str, object] = {
    "fetch.url": "synthetic",
    "fetch.synthetic": SMEARS,
    **{f"fetch.{key}": "none" for key in PINS},
}
OPTIONAL = [
    f"{model.section}.{name}"
    for model in SECTIONS
    for name, field in model.model_fields.items()
    if type(None) in get_args(field.annotation)
]


def changed(changes: dict[str, object]) -> dict[str, Any]:
    """Return the root's params with other values at dotted keys, or without a key."""
    content = copy.deepcopy(read_yaml(ROOT))
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        section: dict[str, Any] = reduce(getitem, parents, content)
        section[key] = value
        if value is DROPPED:
            del section[key]
    return content


def message_of(changes: dict[str, object]) -> str:
    with pytest.raises(MalariaError) as caught:
        check_study(changed(changes))
    message = str(caught.value)
    assert message.startswith("params.yaml")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", [ROOT, DEMO, PILOT], ids=["root", "demo", "pilot"])
def test_the_repositorys_own_params_load(path: Any) -> None:
    assert list(load_study(path)) == [model.section for model in SECTIONS]
    for model in SECTIONS:
        assert isinstance(load(model, path), model)


def test_a_section_keeps_the_values_of_the_file() -> None:
    fractions = {"train": 0.6, "val": 0.15, "test": 0.25}
    assert load(SplitParams, ROOT).fractions.model_dump() == fractions
    assert load(TrainParams, PILOT).precision == "mixed_bfloat16"
    synthetic = load(FetchParams, DEMO).synthetic
    assert synthetic is not None
    assert synthetic.cells == load_study(DEMO)["fetch"]["synthetic"]["cells"]


def test_recipe_and_none_are_what_the_root_leaves_to_others() -> None:
    augment = load(AugmentParams, ROOT).model_dump()
    assert augment.pop("engine") == "device"
    assert set(augment.values()) == {None}
    assert load(TrainParams, ROOT).learning_rate is None
    assert load(FetchParams, ROOT).synthetic is None


@pytest.mark.parametrize("key", [*OPTIONAL, "gate.metrics.roc_auc.floor"])
def test_null_is_refused_with_the_word_to_write(key: str) -> None:
    word = "recipe" if key.startswith(("augment.", "train.")) else "none"
    assert f"{key}: null is not a value here; write `{word}`" in message_of({key: None})


# By key: values, each with what the message allows.
IMPOSSIBLE: dict[str, list[tuple[object, str]]] = {
    "fetch.url": [(3, "string"), ("", "1 character")],
    **{
        f"fetch.{key}": [("abc", "64"), (HASH.upper(), "64")]
        for key in ("download", "cells", "sha256")
    },
    "fetch.patients": [(["C1"], "string"), ("", "1 character")],
    "split.unit": [("slide", "'patient' or 'cell'")],
    "split.seed": [(-1, "0")],
    "split.folds": [(2, "3")],
    "split.fold": [(0, "1")],
    "split.corrections": [("list.csv", "valid dictionary")],
    "split.fractions.train": [("0.6", "number"), (NAN, "less than 1")],
    "split.fractions.test": [(0, "greater than 0")],
    "preprocess.size": [(8, "16"), (513, "512"), (125.0, "integer")],
    "augment.engine": [(None, "'device' or 'generator'")],
    "augment.rotation_range": [("25", "number"), (-1, "0"), (181, "180"), (INF, "180"), (NAN, "0")],
    "augment.zoom_range": [("wide", "list"), ([1.0], "at least 2 items")],
    "augment.horizontal_flip": [(1, "boolean")],
    "augment.brightness_range": [(0.2, "list")],
    "augment.contrast_range": [([0.5, 1, 2], "at most 2 items")],
    "augment.brightness_delta": [(2, "1")],
    "augment.stain_jitter": [(1, "less than 1")],
    "augment.fill_mode": [("reflect", "'nearest' or 'constant'")],
    "train.epochs": [(0, "1"), ("25", "integer")],
    "train.batch_size": [(0, "1")],
    "train.learning_rate": [(0, "greater than 0"), ("1e-5", "number"), (INF, "finite")],
    "train.body_learning_rate": [(0, "greater than 0"), (NAN, "finite")],
    "train.seed": [(None, "integer"), (-1, "0"), (2**32, str(2**32))],
    "train.optimizer": [("lion", "'adam', 'adamw', 'rmsprop' or 'sgd'")],
    "train.schedule": [("cosine", "'constant', 'plateau', 'linear' or 'one_cycle'")],
    "train.patience": [(-1, "0")],
    "train.head_epochs": [(-1, "0")],
    "train.averaging": [(1, "less than 1"), (-0.1, "0"), (NAN, "less than 1")],
    "train.keep": [("first", "'best' or 'last'")],
    "train.device": [("tpu", "'auto', 'cpu' or 'gpu'")],
    "train.distribution": [("all", "'auto', 'single' or 'data_parallel'")],
    "train.precision": [("float16", "'auto', 'float32', 'mixed_bfloat16' or 'mixed_float16'")],
    "train.weights": [
        *((value, "imagenet|vgg16|none|arrays:") for value in ("ImageNet", "imagenet\n", HASH)),
        *((f"arrays:{end}", "none|arrays:") for end in ("abc", HASH.upper(), f"{HASH}0")),
    ],
    "evaluate.threshold": [("0.5", "'youden', 'fixed_0.5', 'sensitivity_0.95'")],
    "gate.level": [(1, "less than 1")],
    "gate.metrics": [({}, "at least 1 item")],
    "gate.metrics.sensitivity.margin": [(0, "greater than 0")],
    "gate.metrics.roc_auc.floor": [(95, "less than 1")],
    "gate.patients.cells": [(0, "greater than or equal to 1")],
    "gate.patients.margin": [(1, "less than 1"), (float("inf"), "less than 1")],
    "gate.replicates": [(100, "1000"), (10**9, "100000")],
    "gate.inconclusive": [("pass", "'neutral' or 'fail'")],
    "mlflow.experiment": [(3, "string"), ("", "1 character")],
}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [(key, *fault) for key, faults in IMPOSSIBLE.items() for fault in faults],
)
def test_an_impossible_value_is_named_with_what_is_allowed(
    key: str, value: object, allowed: str
) -> None:
    before, _, after = message_of({key: value}).partition(f"{key} is {value!r}: ")
    assert before == "params.yaml: "
    assert allowed in after


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.epoch": 3}, "train.epoch is not a known key (allowed: model, weights, epochs, "),
        ({"augment.channel_shift_range": 3}, "is not a known key (allowed: engine, rotation_ran"),
        ({"train.model": "resnet"}, "train.model: 'resnet' is "),
        ({"train.model": "resnet"}, "basic_cnn, "),
        ({"gate.baseline_reset": {"commit": "HEAD", "reason": "new cells"}}, "commit is 'HEAD'"),
        ({"gate.baseline_reset": {"commit": HASH[:40], "reason": ""}}, "_reset.reason is ''"),
        ({"gate.baseline_reset": {"commit": HASH[:40]}}, "gate.baseline_reset.reason is missing"),
        ({"gate.accept_loss": {"commit": HASH[:40], "reason": "x" * 501}}, "at most 500 charact"),
        ({"gate.retired": {"commit": "main", "reason": "no longer"}}, "retired.commit is 'main'"),
        ({"gate.slices": {"rich": {"sensitivity": 0.9}}}, "gate.slices: 'rich' is no slice; take"),
        ({"gate.slices": {"healthy": {"f1": 0.9}}}, "gate.slices: 'f1' cannot have a floor in a"),
        (
            {"gate.metrics.f1": {"margin": 0.1, "floor": "none"}},
            "gate.metrics: 'f1' cannot be gated; take sensitivity, specificity, roc_auc",
        ),
        ({"augment.zoom_range": 1}, "augment.zoom_range: 1 is not from 0 to below 1"),
        ({"augment.zoom_range": -0.1}, "augment.zoom_range: -0.1 is not from 0 to below 1"),
        ({"augment.brightness_range": [0, 1]}, "augment.brightness_range.0 is 0"),
        ({"augment.brightness_range": [1, -1]}, "augment.brightness_range.1 is -1"),
        ({"augment.brightness_range": [INF, 1]}, "augment.brightness_range.0 is inf"),
        ({"split.fractions.train": 0.7}, "train, val and test add up to 1.1; they must add up to"),
        ({"split.folds": 3}, "split: folds is 3 and fold none; set both or neither"),
        ({"split.folds": 3, "split.fold": 4}, "split: fold is 4, but there are 3 folds"),
        (
            {"fetch.url": "https://u:pa@ss@h/x.zip?token=abc"},
            "fetch.url: 'https://h/x.zip?token=***' has a password or token, which Git, dvc.lock",
        ),
        ({"fetch.url": "synthetic"}, "fetch: url 'synthetic' needs a `synthetic` section, and no"),
        (DRAWN | {"fetch.synthetic": "none"}, "needs a `synthetic` section"),
        *(
            (DRAWN | {f"fetch.{key}": value}, "and none for download, patients, cells and sha256")
            for key, value in PINS.items()
        ),
        ({"fetch.synthetic": SMEARS}, "synthetic: none"),
        *(
            ({f"fetch.{key}": "none"}, "needs cells and sha256, which")
            for key in ("cells", "sha256")
        ),
        ({"fetch.download": "none"}, "needs download, the SHA-256 of the file there"),
        ({"fetch.synthetic": SMEARS | {"cells": 10}}, "fetch.synthetic.cells is 10: "),
        ({"fetch.synthetic": SMEARS | {"seed": "x"}}, "fetch.synthetic.seed is 'x': "),
        ({"fetch.synthetic": SMEARS | {"infected_patients": 2}}, "infected_patients is 2: "),
        *(
            ({"mlflow.experiment": name}, f"mlflow.experiment: {name!r} is to be a plain name")
            for name in ("/tmp/x", "../../..", "a\\b", ".x", "a:b", "a\nb", "ü" * 101)
        ),
        ({"trian": {}}, "`trian` is not a known section (allowed: fetch, split, preprocess, augm"),
        *(({section: DROPPED}, f"has no section `{section}`") for section in ("fetch", "mlflow")),
        ({"train": None}, "train is None: "),
    ],
)
def test_a_fault_is_named_with_its_remedy(changes: dict[str, object], said: str) -> None:
    assert said in message_of(changes)


def test_a_path_needs_no_hash_of_a_download() -> None:
    check_study(changed({"fetch.url": "archive.zip", "fetch.download": "none"}))
    check_study(changed({"fetch.url": "archive.zip"}))
    check_study(changed(DRAWN))


def test_fractions_may_miss_one_by_a_rounding_error() -> None:
    parts = {"train": 0.7, "val": 0.2, "test": 0.1}
    assert 0.7 + 0.2 + 0.1 != 1
    split = changed({f"split.fractions.{key}": value for key, value in parts.items()})["split"]
    assert parse(SplitParams, split).fractions.train == 0.7


def test_a_stage_reads_only_its_own_section() -> None:
    content = changed({"train.epochs": 0})
    assert parse(PreprocessParams, content["preprocess"]).size == 125


def test_where_runs_are_logged_is_a_section_of_its_own() -> None:
    names = {load(MlflowParams, path).experiment for path in (ROOT, DEMO, PILOT)}
    assert len(names) == 3  # results of the three are never mixed in one table
