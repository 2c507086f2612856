"""Schedules, early stopping, the head before the body, frozen bodies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models.base.build import build
from malaria.models.base.recipe import Augmentation
from malaria.models.base.saved import LOGIT
from malaria.models.base.system import find_system, names
from malaria.models.systems import basic_cnn
from malaria.training.batches import Share
from malaria.training.fitting import Epoch
from tests.training.toy import (
    FLIPPED,
    PLAIN,
    all_equal,
    bright_and_dark,
    fit,
    loss_and_accuracy,
    small,
    with_body,
    with_wrong_labels,
)

pytestmark = pytest.mark.usefixtures("prepared")
LARGE = ("vgg", "resnet")


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [("constant", [1, 1, 1, 1, 1, 1]), ("plateau", [1, 1, 1, 0.5, 0.5, 0.25])],
)
def test_plateau_halves_the_learning_rate_after_two_epochs_without_a_gain(
    tmp_path: Path, schedule: Any, shares: list[float]
) -> None:
    recipe = replace(PLAIN, epochs=6, schedule=schedule)
    history, _ = fit(small(), with_wrong_labels(), recipe, tmp_path)
    assert [row["learning_rate"] for row in history] == pytest.approx([0.1 * s for s in shares])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_after_some_epochs_without_a_lower_loss(tmp_path: Path, keep: str) -> None:
    cells, model = with_wrong_labels(), small()
    recipe = replace(PLAIN, epochs=9, patience=2)
    history, kept = fit(model, cells, recipe, tmp_path, keep=keep)
    assert len(history) == 3
    assert kept == (1 if keep == "best" else 3)
    loss, _ = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)


@pytest.mark.parametrize("augment", [PLAIN.augment, FLIPPED.augment])
def test_averaged_weights_are_validated_and_kept_but_not_trained_on(
    tmp_path: Path, augment: Augmentation
) -> None:
    cells, recipe = with_wrong_labels(0.25), replace(PLAIN, epochs=3, augment=augment)
    plain, averaged = small(), small()
    expected, _ = fit(plain, cells, recipe, tmp_path / "plain", keep="last")
    averaging = replace(recipe, averaging=0.8)
    history, kept = fit(averaged, cells, averaging, tmp_path / "averaged", keep="last")
    for now, before in zip(history, expected, strict=True):
        assert now["loss"] == before["loss"]
        assert now["val_loss"] != before["val_loss"]
    loss, _ = loss_and_accuracy(averaged, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)


def weights_of(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def changes(model: keras.Model, before: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Return the largest change of a weight of each layer that has any."""
    return {
        name: max(float(abs(a - b).max()) for a, b in zip(now, before[name], strict=True))
        for name, now in weights_of(model).items()
    }


@pytest.mark.usefixtures("body_of_two_groups")
def test_the_head_learns_first_and_then_all_that_may(tmp_path: Path) -> None:
    model = with_body()
    start = weights_of(model)
    moved: list[dict[str, float]] = []
    recipe = replace(
        PLAIN, epochs=2, head_epochs=3, learning_rate=0.01, head_learning_rate=0.05, patience=1
    )
    history, _ = fit(
        model,
        bright_and_dark(),
        recipe,
        tmp_path,
        keep="last",
        on_epoch=lambda row: moved.append(changes(model, start)),
    )
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert 4 <= len(history) <= 5
    rates = [row["learning_rate"] for row in history]
    assert rates == pytest.approx([0.05] * 3 + [0.01] * (len(history) - 3))
    still = {name for name, change in moved[2].items() if change == 0}
    assert still == {"low_conv", "low_conv2", "high_conv"}  # the normalisation goes on learning
    assert {name for name, change in moved[-1].items() if change == 0} == {"low_conv"}
    assert {layer.name for layer in model.layers if not layer.trainable} == {"low_conv"}


@pytest.mark.usefixtures("body_of_two_groups")
@pytest.mark.parametrize("augment", [PLAIN.augment, FLIPPED.augment])
def test_learning_rates_rise_from_the_first_layers_to_the_head(
    tmp_path: Path, augment: Augmentation
) -> None:
    model = with_body()
    start = weights_of(model)
    # Adam's first step is the learning rate, whatever the gradient.
    recipe = replace(
        PLAIN, epochs=1, batch_size=64, optimizer="adam", learning_rate=1e-2, augment=augment
    )
    recipe = replace(recipe, body_learning_rate=1e-4)
    fit(model, bright_and_dark(), recipe, tmp_path)
    steps = changes(model, start)
    assert steps["low_conv2"] == pytest.approx(1e-4, rel=0.02)
    assert steps["high_conv"] == pytest.approx(1e-3, rel=0.02)
    assert steps[LOGIT] == pytest.approx(1e-2, rel=0.02)


@pytest.mark.parametrize(("key", "value"), [("head_epochs", 1), ("body_learning_rate", 1e-5)])
@pytest.mark.parametrize("name", ["basic_cnn", "vgg16_frozen"])
def test_what_needs_a_body_that_learns_is_refused_without_one(
    tmp_path: Path, name: str, key: str, value: float
) -> None:
    model = small()
    model.name = name
    given: dict[str, Any] = {key: value}
    with pytest.raises(MalariaError, match=rf"train\.{key} is {value}, but {name} has no"):
        fit(model, bright_and_dark(), replace(PLAIN, **given), tmp_path)


def test_a_batch_that_devices_cannot_share_equally_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match=r"train\.batch_size is 8, but 3 devices .* of 3\."):
        fit(small(), bright_and_dark(), PLAIN, tmp_path, share=Share(devices=3))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith(LARGE) else [])
        for name in names()
    ],
)
def test_every_model_trains_by_its_recipe(tmp_path: Path, name: str) -> None:
    recipe = find_system(name).recipe
    short = replace(recipe, epochs=2, batch_size=16, head_epochs=min(1, recipe.head_epochs))
    cells = bright_and_dark(size=32, train_count=32)
    history, kept = fit(build(name, 32, None), cells, short, tmp_path)
    assert len(history) == 2 + short.head_epochs
    assert 1 <= kept <= len(history)
    assert all(np.isfinite(list(row.values())).all() for row in history)


def test_a_frozen_body_sees_each_image_once_and_only_the_head_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = bright_and_dark(size=32)
    model = build("vgg19_frozen", 32, None)
    before = weights_of(model)
    seen: list[np.ndarray] = []
    predict = keras.Model.predict_on_batch

    def watched(body: keras.Model, images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return predict(body, images)

    monkeypatch.setattr(keras.Model, "predict_on_batch", watched)
    recipe = replace(PLAIN, optimizer="adam", learning_rate=1e-3)
    history, kept = fit(model, cells, recipe, tmp_path)

    rows = np.concatenate([cells.train, cells.val])
    assert np.array_equal(seen, cells.array[rows])
    for name, weights in weights_of(model).items():
        assert all_equal(weights, before[name]) == (name not in {"dense1", "dense2", LOGIT})
    # The whole model only repeats the head's numbers if every feature kept its label.
    loss, accuracy = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(history[kept - 1]["val_accuracy"])
    assert history[-1]["loss"] < history[0]["loss"]
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_body_refuses_augmentation(tmp_path: Path) -> None:
    model = build("vgg19_frozen", 32, None)
    with pytest.raises(MalariaError, match=r"augment must be off.* for vgg19_frozen"):
        fit(model, bright_and_dark(size=32), FLIPPED, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_features_are_deleted_also_if_training_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = replace(basic_cnn.SYSTEM, frozen_until="mean")
    monkeypatch.setattr(basic_cnn, "SYSTEM", frozen)

    def stop(row: Epoch) -> None:
        assert len(list(tmp_path.glob(".features-*"))) == 1
        raise MalariaError("stopped")

    with pytest.raises(MalariaError, match="stopped"):
        fit(small(), bright_and_dark(), PLAIN, tmp_path, on_epoch=stop)
    assert list(tmp_path.iterdir()) == []
