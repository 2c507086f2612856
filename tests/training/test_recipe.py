"""Recipes: the published ones, what a given value changes, and what does not go together."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.models.base.recipe import OURS, Augmentation, Recipe
from malaria.models.base.system import find_system, names
from malaria.training.params import AugmentParams, TrainParams
from malaria.training.recipe import overridden, resolve
from tests.training.test_draws import ALL

TRAIN = {
    "model": "vgg19_finetuned",
    "weights": "imagenet",
    "keep": "best",
    "precision": "float32",
    "device": "auto",
    "distribution": "auto",
    "seed": 1,
}
ARTICLE = find_system("vgg19_finetuned").recipe
SHIFTED = {
    "width_shift_range": 0.05,
    "height_shift_range": 0.05,
    "shear_range": 0.05,
    "zoom_range": (0.95, 1.05),
    "horizontal_flip": True,
}
FLIPPED = {"horizontal_flip": True, "vertical_flip": True}
STAGED = {"head_epochs": 10, "head_learning_rate": 3e-3, "body_learning_rate": 1e-5}
STOPPED = {"patience": 5}


def train_params(**given: object) -> TrainParams:
    words = dict.fromkeys(TrainParams.model_fields, "recipe")
    return TrainParams.model_validate(words | TRAIN | given)


def resolved(train: dict[str, Any] | None = None, **augment: Any) -> Recipe:
    """Return the recipe of the given params, with the word `recipe` for all others."""
    words = dict.fromkeys(AugmentParams.model_fields, "recipe") | {"engine": "device"}
    return resolve(train_params(**train or {}), AugmentParams.model_validate(words | augment))


@pytest.mark.parametrize("model", names())
def test_the_word_takes_the_value_of_the_recipe(model: str) -> None:
    recipe = resolved({"model": model})
    assert recipe == find_system(model).recipe
    assert overridden(model, recipe) == {}


@pytest.mark.parametrize(
    ("model", "values", "augment", "rest"),
    [
        ("basic_cnn", (125, 25, 64, "adam", 1e-3, "plateau"), {}, {}),
        ("vgg19_frozen", (125, 25, 64, "rmsprop", 1e-4, "plateau"), {}, {}),
        ("vgg19_finetuned", (125, 25, 64, "rmsprop", 1e-5, "constant"), SHIFTED, {}),
        ("resnet18", (128, 30, 512, "adamw", 1e-4, "one_cycle"), FLIPPED, STAGED),
        ("resnet34", (128, 30, 256, "adamw", 1e-4, "one_cycle"), FLIPPED, STAGED),
        ("resnet50", (128, 30, 256, "adamw", 1e-4, "one_cycle"), FLIPPED, STAGED),
        ("resnet_preact", (64, 50, 32, "sgd", 0.1, "linear"), SHIFTED, {}),
        ("cnn_base", (64, 50, 100, "adam", 1e-3, "constant"), {}, STOPPED),
        ("cnn_leaky", (64, 50, 100, "adam", 1e-3, "constant"), {}, STOPPED),
        ("cnn_se", (64, 50, 100, "adam", 1e-3, "constant"), {}, STOPPED),
        ("vgg16_frozen", (64, 50, 100, "adam", 1e-3, "constant"), {}, STOPPED),
    ],
)
def test_a_recipe_is_the_published_one(
    model: str, values: Any, augment: dict[str, Any], rest: dict[str, Any]
) -> None:
    turned = {"vgg19_finetuned": 25, "resnet_preact": 20}.get(model, 0)
    drawn = Augmentation(rotation_range=turned, **augment)
    assert find_system(model).recipe == replace(Recipe(*values), augment=drawn, **rest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 1),
        ("batch_size", 7),
        ("optimizer", "sgd"),
        ("learning_rate", 0.5),
        ("body_learning_rate", 0.5),
        ("schedule", "plateau"),
        ("patience", 3),
        ("head_epochs", 2),
        ("head_learning_rate", 0.5),
        ("averaging", 0.9),
    ],
)
def test_a_given_value_overrides_the_recipe_and_nothing_else(key: str, value: object) -> None:
    recipe = resolved({key: value})
    assert asdict(recipe) == asdict(ARTICLE) | {key: value}
    assert overridden("vgg19_finetuned", recipe) == {key: getattr(ARTICLE, key)}


@pytest.mark.parametrize(("model", "key"), [("cnn_se", "patience"), ("resnet18", "head_epochs")])
def test_zero_turns_a_part_of_the_recipe_off(model: str, key: str) -> None:
    assert getattr(resolved({"model": model, key: 0}), key) == 0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rotation_range", 0, 0),
        ("zoom_range", 0.25, (0.75, 1.25)),
        ("zoom_range", [0.5, 1.5], (0.5, 1.5)),
        ("zoom_range", 0, (1, 1)),
        ("horizontal_flip", False, False),
        ("vertical_flip", True, True),
        ("brightness_range", [0.8, 1.2], (0.8, 1.2)),
        ("fill_mode", "constant", "constant"),
        ("right_angle_rotation", True, True),
        ("brightness_delta", 0.2, 0.2),
        ("contrast_range", [0.7, 1.3], (0.7, 1.3)),
        ("stain_jitter", 0.1, 0.1),
    ],
)
def test_a_given_range_overrides_the_recipe_even_if_it_is_zero(
    key: str, value: Any, expected: object
) -> None:
    assert asdict(resolved(**{key: value}).augment) == asdict(ARTICLE.augment) | {key: expected}


@pytest.mark.parametrize("engine", ["device", "generator"])
def test_the_engine_is_the_given_one(engine: str) -> None:
    assert resolved(engine=engine).engine == engine


def test_an_augmentation_without_ranges_is_off_whatever_its_fill() -> None:
    assert Augmentation().is_off
    assert Augmentation(fill_mode="constant").is_off
    for key, value in asdict(ALL).items():
        if key != "fill_mode":
            assert not replace(Augmentation(), **{key: value}).is_off


@pytest.mark.parametrize("key", OURS)
def test_the_generator_refuses_what_it_does_not_have(key: str) -> None:
    value: Any = {"right_angle_rotation": True, "contrast_range": [0.9, 1.1]}.get(key, 0.1)
    with pytest.raises(MalariaError, match=rf"augment\.{key} is .* augment\.engine to device"):
        resolved(engine="generator", **{key: value})


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_one_cycle_refuses_an_optimizer_without_adams_momentum(optimizer: str) -> None:
    with pytest.raises(MalariaError, match=f"train.optimizer is '{optimizer}'.* adam or adamw"):
        resolved({"optimizer": optimizer, "schedule": "one_cycle"})


@pytest.mark.parametrize("key", ["zoom_range", "brightness_range", "contrast_range"])
def test_a_range_that_runs_backwards_is_refused(key: str) -> None:
    with pytest.raises(MalariaError, match=rf"augment\.{key} is \[1\.5, 0\.5\].* lower number"):
        resolved(None, **{key: [1.5, 0.5]})
