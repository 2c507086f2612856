"""Training: what is learned, which epoch is kept, what the history says, what goes wrong."""

import random
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
from malaria.training import backend, fitting
from malaria.training import train as training
from malaria.training.augment import DeviceEngine, GeneratorEngine
from malaria.training.fitting import Epoch
from tests.training.toy import (
    FLIPPED,
    PLAIN,
    all_equal,
    bright_and_dark,
    fit,
    loss_and_accuracy,
    small,
    with_wrong_labels,
)

pytestmark = pytest.mark.usefixtures("prepared")
COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


def test_the_articles_model_learns_what_can_be_learned(tmp_path: Path) -> None:
    cells = bright_and_dark(size=16, train_count=64, val_count=24)
    model = build("basic_cnn", 16, None)
    recipe = replace(PLAIN, optimizer="adam", learning_rate=1e-3)
    history, kept = fit(model, cells, recipe, tmp_path)
    assert history[kept - 1]["val_accuracy"] == 1
    assert history[kept - 1]["val_loss"] < 0.5 < history[0]["loss"]
    loss, accuracy = loss_and_accuracy(model, cells)
    assert accuracy == 1
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_left_are_those_of_the_epoch_that_is_reported(
    tmp_path: Path, keep: str
) -> None:
    # One val label in four is wrong, so confidence pays at first and costs later.
    cells = with_wrong_labels(0.25)
    recipe = replace(PLAIN, epochs=12, batch_size=64, optimizer="adam", learning_rate=1.0)
    model = small()
    history, kept = fit(model, cells, recipe, tmp_path, keep=keep)
    best = int(np.argmin([row["val_loss"] for row in history])) + 1
    assert 1 < best < len(history) == 12
    assert kept == (best if keep == "best" else 12)
    loss, accuracy = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)
    assert accuracy == pytest.approx(history[kept - 1]["val_accuracy"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_one_step_is_the_optimizers_on_the_cross_entropy_of_the_logit(
    tmp_path: Path, optimizer: Any
) -> None:
    cells, model = bright_and_dark(), small()
    recipe = replace(PLAIN, epochs=1, batch_size=64, optimizer=optimizer, learning_rate=0.01)
    fit(model, cells, recipe, tmp_path)
    x = cells.array[cells.train].mean(axis=(1, 2)) / 255
    gradient = ((0.5 - cells.labels[cells.train])[:, None] * x).mean(axis=0)
    step = {
        "sgd": gradient,
        "adam": np.sign(gradient),
        "rmsprop": np.sign(gradient) / np.sqrt(0.1),  # it remembers nine tenths of the squares
    }[optimizer]
    weights = model.get_layer(LOGIT).get_weights()[0][:, 0]
    assert weights == pytest.approx(-0.01 * step, rel=1e-3)


@pytest.fixture
def seen(engine: str, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """The rows that the engine augments in each epoch."""
    rows_of: dict[int, list[int]] = {}
    base: type = {"device": DeviceEngine, "generator": GeneratorEngine}[engine]

    class Watched(base):
        def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> Any:
            rows_of.setdefault(epoch, []).extend(int(row) for row in rows)
            return super().__call__(images, rows, epoch)

    monkeypatch.setattr(training, base.__name__, Watched)
    return rows_of


def test_the_history_has_one_row_per_epoch_and_each_is_passed_on_at_once(
    tmp_path: Path, engine: Any, seen: dict[int, list[int]]
) -> None:
    passed: list[Epoch] = []

    def on_epoch(row: Epoch) -> None:
        assert max(seen) + 1 == row["epoch"]  # the next epoch has not begun
        passed.append(dict(row))

    recipe = replace(FLIPPED, engine=engine)
    history, _ = fit(small(), bright_and_dark(), recipe, tmp_path, on_epoch=on_epoch)
    assert passed == history
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for row in history:
        assert list(row) == COLUMNS
        assert all(type(value) is float for name, value in row.items() if name != "epoch")
        assert row["learning_rate"] == pytest.approx(0.1)
    assert history[2]["loss"] < history[0]["loss"]


def test_only_train_cells_are_augmented_each_once_per_epoch_with_its_number(
    tmp_path: Path, engine: Any, seen: dict[int, list[int]]
) -> None:
    cells = bright_and_dark()
    fit(small(), cells, replace(FLIPPED, engine=engine), tmp_path)
    assert sorted(seen) == [0, 1, 2]
    assert set(seen[0]) == set(cells.train)  # Keras looks at two batches before it begins
    for epoch in (1, 2):
        assert sorted(seen[epoch]) == sorted(cells.train)
    assert seen[1] != seen[2]


def test_augmentation_changes_what_is_learned(tmp_path: Path, engine: Any) -> None:
    losses = []
    for augment in (PLAIN.augment, Augmentation(rotation_range=90, fill_mode="constant")):
        recipe = replace(PLAIN, augment=augment, engine=engine)
        history, _ = fit(small(), bright_and_dark(), recipe, tmp_path)
        losses.append([row["loss"] for row in history])
    assert losses[0] != losses[1]  # corners are black, so the mean colour differs


def test_a_training_depends_on_its_seed_and_not_on_the_state_of_random_generators(
    tmp_path: Path,
) -> None:
    weights = []
    for seed, disturbance in ((5, 1), (5, 2), (6, 1)):
        model = small()
        random.seed(disturbance)
        np.random.seed(disturbance)
        fit(model, bright_and_dark(), PLAIN, tmp_path, seed=seed)
        weights.append(model.get_layer(LOGIT).get_weights()[0])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["small", pytest.param("basic_cnn", marks=pytest.mark.slow)])
def test_two_trainings_with_one_seed_give_equal_weights(
    tmp_path: Path, name: str, engine: Any
) -> None:
    drawn = Augmentation(rotation_range=20, horizontal_flip=True)
    recipe = replace(
        PLAIN, epochs=2, optimizer="adam", learning_rate=1e-3, augment=drawn, engine=engine
    )
    trained = []
    for seed in (5, 5, 6):
        backend.prepare("auto", "float32", seed)
        model = build(name, 16, None) if name == "basic_cnn" else small(16, hidden=1)
        history, _ = fit(model, bright_and_dark(size=16), recipe, tmp_path, seed=seed)
        trained.append((model.get_weights(), history))
    (first, first_history), (second, second_history), (other, _) = trained
    assert all_equal(first, second)
    assert first_history == second_history
    assert not np.array_equal(first[0], other[0])


def test_the_history_has_the_cross_entropy_without_the_penalty_on_weights(tmp_path: Path) -> None:
    cells, model = bright_and_dark(), small()
    model.get_layer(LOGIT).kernel.regularizer = keras.regularizers.L2(10.0)
    history, kept = fit(model, cells, PLAIN, tmp_path)
    assert float(sum(model.losses)) > 0
    loss, _ = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_is_named_with_its_epoch_step_and_learning_rate(
    tmp_path: Path,
) -> None:
    passed: list[Epoch] = []
    recipe = replace(PLAIN, learning_rate=1e30)
    with pytest.raises(MalariaError) as caught:
        fit(small(hidden=2), bright_and_dark(), recipe, tmp_path, on_epoch=passed.append)
    message = str(caught.value)
    assert "\n" not in message
    assert "not finite in epoch 1, step 2 of 3, at learning rate 1e+30" in message
    assert "lower train.learning_rate" in message
    assert passed == []


@pytest.mark.parametrize("engine", ["generator"], indirect=True)
def test_a_broken_training_stops_within_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: dict[int, list[int]]
) -> None:
    monkeypatch.setattr(fitting, "LOOK", 5)
    recipe = replace(FLIPPED, learning_rate=1e30, batch_size=1, engine="generator")
    with pytest.raises(MalariaError, match=r"in epoch 1, step [2345] of 60"):
        fit(small(hidden=2), bright_and_dark(train_count=60), recipe, tmp_path)
    assert len(seen[0]) < 40  # the batches in wait are few


def test_too_little_memory_names_what_to_lower(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.ZeroPadding2D(1 << 20)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, name=LOGIT)(x)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(logit), name="basic_cnn")
    with pytest.raises(MalariaError) as caught:
        fit(model, bright_and_dark(), PLAIN, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("batches of 8 images of 8 x 8 pixels", "train.batch_size", "preprocess.size"):
        assert part in message
