"""Training: what is learned, which epoch is kept, what the history says, frozen bodies."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from malaria import backend, fitting, models, training
from malaria.augment import DeviceEngine, GeneratorEngine
from malaria.checkpoint import Checkpoint
from malaria.errors import MalariaError
from malaria.fitting import Epoch
from malaria.modelfile import LOGIT, logit_model
from malaria.recipes import RECIPES, Augmentation, Recipe
from malaria.training import Cells, train
from tests.conftest import random_images

PLAIN = Recipe(
    published_size=8,
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="constant",
    augment=Augmentation(),
)
FLIPPED = replace(PLAIN, augment=Augmentation(horizontal_flip=True))
COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


def bright_and_dark(size: int = 8, train_count: int = 20, val_count: int = 12) -> Cells:
    """Return cells that differ in brightness; the splits lie scattered over the array."""
    count = train_count + val_count + 8  # the last eight are of no split
    labels = np.random.default_rng(1).integers(0, 2, count)
    images = random_images(count, size) // 4 + (labels * 120).astype(np.uint8)[:, None, None, None]
    rows = np.random.default_rng(2).permutation(count)
    return Cells(images, labels, rows[:train_count], rows[train_count : train_count + val_count])


def with_wrong_labels(cells: Cells, share: float) -> Cells:
    """Return the cells with the labels of the first val cells turned round."""
    labels = cells.labels.copy()
    wrong = cells.val[: round(share * len(cells.val))]
    labels[wrong] = 1 - labels[wrong]
    return replace(cells, labels=labels)


def small(size: int = 8, hidden: int = 0) -> keras.Model:
    """Return a model that takes basic_cnn's place in the table of architectures, at no cost.

    Without hidden layers it is a logistic regression on the mean colour, begun at zero.
    """
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    for _ in range(hidden):
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(8)(x))
    start = "glorot_uniform" if hidden else "zeros"
    logit = keras.layers.Dense(1, kernel_initializer=start, name=LOGIT)(x)
    probability = keras.layers.Activation("sigmoid")(logit)
    return keras.Model(image, probability, name="basic_cnn")


@pytest.fixture(autouse=True)
def prepared() -> None:
    backend.prepare("auto", "float32", 1)


def fit(
    model: keras.Model, cells: Cells, recipe: Recipe, workspace: Path, **given: Any
) -> tuple[list[Epoch], int]:
    checkpoint = Checkpoint(workspace / "checkpoints", "key")
    options: dict[str, Any] = {
        "keep": "best",
        "seed": 5,
        "on_epoch": lambda row: None,
        "checkpoint": checkpoint,
    } | given
    try:
        outcome = train(model, cells, recipe, workspace=workspace, **options)
    finally:
        checkpoint.delete()
        shutil.rmtree(workspace / "checkpoints", ignore_errors=True)
    return outcome.history, outcome.kept


def loss_and_accuracy(model: keras.Model, cells: Cells) -> tuple[float, float]:
    """Return what the model is worth on the val cells, from its logits."""
    logit = logit_model(model).predict(cells.array[cells.val], verbose=0)[:, 0]
    label = cells.labels[cells.val]
    return float(np.logaddexp(0, np.where(label, -logit, logit)).mean()), float(
        ((logit > 0) == label).mean()
    )


def test_the_articles_model_learns_what_can_be_learned(tmp_path: Path) -> None:
    cells = bright_and_dark(size=16, train_count=64, val_count=24)
    model = models.build("basic_cnn", 16, None)
    recipe = replace(PLAIN, epochs=3, optimizer="adam", learning_rate=1e-3)
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
    cells = with_wrong_labels(bright_and_dark(), 0.25)
    recipe = replace(PLAIN, epochs=12, batch_size=64, optimizer="adam", learning_rate=1.0)
    model = small()
    history, kept = fit(model, cells, recipe, tmp_path, keep=keep)
    best = int(np.argmin([row["val_loss"] for row in history])) + 1
    assert 1 < best < len(history) == 12
    assert kept == (best if keep == "best" else 12)
    loss, accuracy = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)
    assert accuracy == pytest.approx(history[kept - 1]["val_accuracy"])


def test_the_first_epoch_is_kept_where_it_was_the_best(tmp_path: Path) -> None:
    cells = with_wrong_labels(bright_and_dark(), 1)
    model = small()
    history, kept = fit(model, cells, PLAIN, tmp_path)
    assert kept == 1
    assert len(history) == 3
    loss, _ = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[0]["val_loss"], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_one_step_is_the_optimizers_on_the_cross_entropy_of_the_logit(
    tmp_path: Path, optimizer: Any
) -> None:
    cells = bright_and_dark()
    model = small()
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


@pytest.fixture(params=["device", "generator"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(engine: str, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """What the engine is asked for: the rows of each epoch."""
    rows_of: dict[int, list[int]] = {}
    base: type = {"device": DeviceEngine, "generator": GeneratorEngine}[engine]

    class Watched(base):
        def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> Any:
            rows_of.setdefault(epoch, []).extend(int(row) for row in rows)
            return super().__call__(images, rows, epoch)

    monkeypatch.setattr(training, base.__name__, Watched)
    return rows_of


def test_the_history_has_one_row_an_epoch_and_is_told_at_once(
    tmp_path: Path, engine: Any, seen: dict[int, list[int]]
) -> None:
    told: list[Epoch] = []

    def on_epoch(row: Epoch) -> None:
        assert max(seen) + 1 == row["epoch"]  # the next epoch has not begun
        told.append(dict(row))

    recipe = replace(FLIPPED, engine=engine)
    history, _ = fit(small(), bright_and_dark(), recipe, tmp_path, on_epoch=on_epoch)
    assert told == history
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for row in history:
        assert list(row) == COLUMNS
        assert all(type(value) is float for name, value in row.items() if name != "epoch")
        assert row["learning_rate"] == pytest.approx(0.1)
    assert history[2]["loss"] < history[0]["loss"]


def test_train_cells_alone_are_augmented_each_once_an_epoch_with_its_number(
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
    assert losses[0] != losses[1]  # corners are black, so the mean colour is another


def test_a_training_depends_on_its_seed_and_not_on_the_state_of_random_generators(
    tmp_path: Path,
) -> None:
    cells = bright_and_dark()
    weights = []
    for seed, disturbance in ((5, 1), (5, 2), (6, 1)):
        model = small()
        random.seed(disturbance)
        np.random.seed(disturbance)
        fit(model, cells, PLAIN, tmp_path, seed=seed)
        weights.append(model.get_layer(LOGIT).get_weights()[0])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["small", pytest.param("basic_cnn", marks=pytest.mark.slow)])
def test_two_trainings_with_one_seed_give_equal_weights(
    tmp_path: Path, name: str, engine: Any
) -> None:
    cells = bright_and_dark(size=16)
    drawn = Augmentation(rotation_range=20, horizontal_flip=True)
    recipe = replace(
        PLAIN, epochs=2, optimizer="adam", learning_rate=1e-3, augment=drawn, engine=engine
    )
    trained = []
    for seed in (5, 5, 6):
        backend.prepare("auto", "float32", seed)
        model = models.build(name, 16, None) if name == "basic_cnn" else small(16, hidden=1)
        history, _ = fit(model, cells, recipe, tmp_path, seed=seed)
        trained.append((model.get_weights(), history))
    (first, first_history), (second, second_history), (other, _) = trained
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first_history == second_history
    assert not np.array_equal(first[0], other[0])


def test_a_loss_that_is_not_finite_is_named_with_its_epoch_step_and_learning_rate(
    tmp_path: Path,
) -> None:
    told: list[Epoch] = []
    recipe = replace(PLAIN, learning_rate=1e30)
    with pytest.raises(MalariaError) as caught:
        fit(small(hidden=2), bright_and_dark(), recipe, tmp_path, on_epoch=told.append)
    message = str(caught.value)
    assert "\n" not in message
    assert "not finite in epoch 1, step 2 of 3, at learning rate 1e+30" in message
    assert "lower train.learning_rate" in message
    assert told == []


def test_a_broken_training_stops_within_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "LOOK", 5)
    cells = bright_and_dark(train_count=60)
    recipe = replace(PLAIN, learning_rate=1e30, batch_size=1)
    seen: list[int] = []

    def watch(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        seen.append(epoch)
        return images

    class Watched(GeneratorEngine):
        def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
            return watch(images, rows, epoch)

    monkeypatch.setattr(training, "GeneratorEngine", Watched)
    drawn = replace(recipe, engine="generator", augment=FLIPPED.augment)
    with pytest.raises(MalariaError, match=r"in epoch 1, step [2345] of 60"):
        fit(small(hidden=2), cells, drawn, tmp_path)
    assert len(seen) < 40  # the batches in wait are few


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


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [("constant", [1, 1, 1, 1, 1, 1]), ("plateau", [1, 1, 1, 0.5, 0.5, 0.25])],
)
def test_plateau_halves_the_learning_rate_after_two_epochs_without_a_gain(
    tmp_path: Path, schedule: Any, shares: list[float]
) -> None:
    cells = with_wrong_labels(bright_and_dark(), 1)  # the first epoch is the best
    recipe = replace(PLAIN, epochs=6, schedule=schedule)
    history, _ = fit(small(), cells, recipe, tmp_path)
    assert [row["learning_rate"] for row in history] == pytest.approx([0.1 * s for s in shares])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_after_some_epochs_without_a_lower_loss(tmp_path: Path, keep: str) -> None:
    cells = with_wrong_labels(bright_and_dark(), 1)  # the first epoch is the best
    recipe = replace(PLAIN, epochs=9, patience=2)
    model = small()
    history, kept = fit(model, cells, recipe, tmp_path, keep=keep)
    assert len(history) == 3
    assert kept == (1 if keep == "best" else 3)
    loss, _ = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)


def test_the_history_has_the_cross_entropy_without_the_penalty_on_weights(tmp_path: Path) -> None:
    cells = bright_and_dark()
    model = small()
    model.get_layer(LOGIT).kernel.regularizer = keras.regularizers.L2(10.0)
    history, kept = fit(model, cells, PLAIN, tmp_path)
    assert float(sum(model.losses)) > 0
    loss, _ = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-5)


def with_body(size: int = 8) -> keras.Model:
    """Return a model whose body has two groups, a normalisation and a layer that never learns."""
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, name="low_conv", trainable=False)(x)
    x = keras.layers.Conv2D(4, 3, name="low_conv2")(x)
    x = keras.layers.BatchNormalization(name="high_norm")(x)
    x = keras.layers.Conv2D(4, 3, name="high_conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, name=LOGIT)(x)
    return keras.Model(image, keras.layers.Activation("sigmoid")(logit), name="basic_cnn")


@pytest.fixture
def body_of_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    features = models.ARCHITECTURES["basic_cnn"].features
    architecture = models.Architecture(features, groups=(("low",), ("high",)))
    monkeypatch.setitem(models.ARCHITECTURES, "basic_cnn", architecture)


def changes(model: keras.Model, before: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Return the largest change of a trainable weight of each layer that has one."""
    return {
        layer.name: max(
            float(abs(now.numpy() - then).max())
            for now, then in zip(layer.weights, before[layer.name], strict=True)
        )
        for layer in model.layers
        if layer.weights
    }


@pytest.mark.usefixtures("body_of_two_groups")
def test_the_head_learns_first_and_then_all_that_may(tmp_path: Path) -> None:
    model = with_body()
    start = {layer.name: layer.get_weights() for layer in model.layers}
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
    assert still == {"low_conv", "low_conv2", "high_conv"}  # the normalisation learns on
    assert {name for name, change in moved[-1].items() if change == 0} == {"low_conv"}
    assert {layer.name for layer in model.layers if not layer.trainable} == {"low_conv"}


@pytest.mark.usefixtures("body_of_two_groups")
@pytest.mark.parametrize("augment", [PLAIN.augment, FLIPPED.augment])
def test_learning_rates_rise_from_the_first_layers_to_the_head(
    tmp_path: Path, augment: Augmentation
) -> None:
    model = with_body()
    start = {layer.name: layer.get_weights() for layer in model.layers}
    # Adam's first step is the learning rate, whatever the gradient.
    recipe = replace(
        PLAIN,
        epochs=1,
        batch_size=64,
        optimizer="adam",
        learning_rate=1e-2,
        body_learning_rate=1e-4,
        augment=augment,
    )
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


LARGE = ("vgg", "resnet")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith(LARGE) else [])
        for name in RECIPES
    ],
)
def test_every_model_trains_by_its_recipe(tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    short = replace(recipe, epochs=2, batch_size=16, head_epochs=min(1, recipe.head_epochs))
    cells = bright_and_dark(size=32, train_count=32)
    history, kept = fit(models.build(name, 32, None), cells, short, tmp_path)
    assert len(history) == 2 + short.head_epochs
    assert 1 <= kept <= len(history)
    assert all(np.isfinite(list(row.values())).all() for row in history)


class Watched:
    """A frozen body that remembers which images it was given."""

    def __init__(self, body: keras.Model) -> None:
        self.body = body
        self.output_shape = body.output_shape
        self.images: list[np.ndarray] = []

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        self.images.extend(images)
        return self.body.predict_on_batch(images)


def test_a_frozen_body_sees_each_image_once_and_only_the_head_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = bright_and_dark(size=32)
    model = models.build("vgg19_frozen", 32, None)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    watched: list[Watched] = []

    def split_at(model: keras.Model, layer: str) -> tuple[Watched, keras.Model]:
        body, head = models.split_at(model, layer)
        watched.append(Watched(body))
        return watched[0], head

    monkeypatch.setattr(training, "split_at", split_at)
    recipe = replace(PLAIN, optimizer="adam", learning_rate=1e-3)
    history, kept = fit(model, cells, recipe, tmp_path)

    rows = np.concatenate([cells.train, cells.val])
    assert [image.tobytes() for image in watched[0].images] == [
        image.tobytes() for image in cells.array[rows]
    ]
    for name, weights in before.items():
        same = all(
            np.array_equal(a, b)
            for a, b in zip(weights, model.get_layer(name).get_weights(), strict=True)
        )
        assert same == (name not in {"dense1", "dense2", LOGIT})
    # Only where every feature kept its label does the whole model repeat the head's numbers.
    loss, accuracy = loss_and_accuracy(model, cells)
    assert loss == pytest.approx(history[kept - 1]["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(history[kept - 1]["val_accuracy"])
    assert history[-1]["loss"] < history[0]["loss"]
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_body_refuses_augmentation(tmp_path: Path) -> None:
    model = models.build("vgg19_frozen", 32, None)
    with pytest.raises(MalariaError, match=r"augment must be off.* for vgg19_frozen"):
        fit(model, bright_and_dark(size=32), FLIPPED, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_features_are_deleted_also_where_training_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = models.ARCHITECTURES["basic_cnn"].features
    frozen = models.Architecture(features, frozen_until="mean")
    monkeypatch.setitem(models.ARCHITECTURES, "basic_cnn", frozen)

    def stop(row: Epoch) -> None:
        assert len(list(tmp_path.glob(".features-*"))) == 1
        raise MalariaError("stopped")

    with pytest.raises(MalariaError, match="stopped"):
        fit(small(), bright_and_dark(), PLAIN, tmp_path, on_epoch=stop)
    assert list(tmp_path.iterdir()) == []


class Killed(Exception):
    """What stops a training in these tests."""


STAGED = replace(PLAIN, epochs=4, head_epochs=2, optimizer="adam", learning_rate=0.01, patience=3)


@pytest.mark.usefixtures("body_of_two_groups")
@pytest.mark.parametrize(
    ("changes", "killed_in"),
    [
        ({"schedule": "one_cycle", "augment": Augmentation(rotation_range=30)}, 2),
        ({"schedule": "plateau", "optimizer": "rmsprop"}, 3),
        ({"schedule": "linear", "optimizer": "sgd", "body_learning_rate": 1e-3}, 5),
    ],
    ids=["one_cycle", "plateau", "linear"],
)
def test_a_killed_training_ends_as_if_it_never_stopped(
    tmp_path: Path, changes: dict[str, Any], killed_in: int
) -> None:
    recipe = replace(STAGED, **changes)
    cells = with_wrong_labels(bright_and_dark(), 0.25)

    def run(folder: Path, kill: int | None) -> tuple[list[np.ndarray], Any, list[int]]:
        backend.prepare("auto", "float32", 5)
        model = with_body()
        told: list[int] = []

        def on_epoch(row: Epoch) -> None:
            if row["epoch"] == kill:
                raise Killed  # before this epoch's checkpoint is written
            told.append(int(row["epoch"]))

        outcome = train(
            model,
            cells,
            recipe,
            keep="best",
            seed=5,
            workspace=tmp_path,
            on_epoch=on_epoch,
            checkpoint=Checkpoint(folder, "key"),
        )
        return model.get_weights(), (outcome.history, outcome.kept), told

    whole = run(tmp_path / "whole", kill=None)
    if killed_in > len(whole[1][0]):
        pytest.skip("it stops earlier by itself")
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill=killed_in)
    again = run(tmp_path / "killed", kill=None)
    assert all(np.array_equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
    assert again[1] == whole[1]
    assert again[2] == list(range(killed_in, len(whole[1][0]) + 1))
    # Killed once more after its last epoch, it trains nothing and is the same.
    last = run(tmp_path / "killed", kill=None)
    assert all(np.array_equal(a, b) for a, b in zip(whole[0], last[0], strict=True))
    assert (last[1], last[2]) == (whole[1], [])
