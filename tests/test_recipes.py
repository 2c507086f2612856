"""Recipes: what null means, what a given value changes, and what does not go together."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.models import ARCHITECTURES
from malaria.params.augment import AugmentParams
from malaria.params.train import TrainParams
from malaria.recipes import RECIPES, Augmentation, resolve

ARTICLE = RECIPES["vgg19_finetuned"].augment
TRAIN: dict[str, Any] = {
    "model": "vgg19_finetuned",
    "weights": "imagenet",
    "keep": "best",
    "precision": "float32",
    "device": "auto",
    "distribution": "auto",
    "seed": 1,
}


def train_params(**given: object) -> TrainParams:
    return TrainParams.model_validate(dict.fromkeys(TrainParams.model_fields) | TRAIN | given)


def augment_params(**given: object) -> AugmentParams:
    nulls = dict.fromkeys(AugmentParams.model_fields)
    return AugmentParams.model_validate(nulls | {"engine": "device"} | given)


def test_every_model_has_a_recipe() -> None:
    models = TrainParams.model_fields["model"].annotation.__args__  # type: ignore[union-attr]
    assert set(models) == set(RECIPES) == set(ARCHITECTURES)
    assert len(models) == 11


@pytest.mark.parametrize("model", RECIPES)
def test_null_takes_the_value_of_the_recipe(model: str) -> None:
    assert resolve(train_params(model=model), augment_params()) == RECIPES[model]


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("basic_cnn", (125, 25, 64, "adam", 1e-3, "plateau")),
        ("vgg19_frozen", (125, 25, 64, "rmsprop", 1e-4, "plateau")),
        ("vgg19_finetuned", (125, 25, 64, "rmsprop", 1e-5, "constant")),
        ("resnet18", (128, 30, 512, "adamw", 1e-4, "one_cycle")),
        ("resnet34", (128, 30, 256, "adamw", 1e-4, "one_cycle")),
        ("resnet_preact", (64, 50, 32, "sgd", 0.1, "linear")),
        ("cnn_se", (64, 50, 100, "adam", 1e-3, "constant")),
        ("vgg16_frozen", (64, 50, 100, "adam", 1e-3, "constant")),
    ],
)
def test_a_recipe_is_the_published_one(model: str, published: tuple[object, ...]) -> None:
    recipe = RECIPES[model]
    assert published == (
        recipe.published_size,
        recipe.epochs,
        recipe.batch_size,
        recipe.optimizer,
        recipe.learning_rate,
        recipe.schedule,
    )


def test_augmentations_are_the_published_ones() -> None:
    finetuned = {
        "rotation_range": 25,
        "width_shift_range": 0.05,
        "height_shift_range": 0.05,
        "shear_range": 0.05,
        "zoom_range": (0.95, 1.05),
        "horizontal_flip": True,
    }
    for model, recipe in RECIPES.items():
        given = {
            key: value
            for key, value in asdict(recipe.augment).items()
            if value != getattr(Augmentation(), key)
        }
        if model == "vgg19_finetuned":
            assert given == finetuned
        elif model == "resnet_preact":
            assert given == finetuned | {"rotation_range": 20}
        elif model.startswith("resnet"):
            assert given == {"horizontal_flip": True, "vertical_flip": True}
        else:
            assert given == {}


def test_resnets_train_their_head_first_and_the_notebooks_models_stop_early() -> None:
    for model, recipe in RECIPES.items():
        staged = model in ("resnet18", "resnet34", "resnet50")
        assert (recipe.head_epochs, recipe.body_learning_rate) == (
            (10, 1e-5) if staged else (0, None)
        )
        assert recipe.patience == (5 if model.startswith(("cnn", "vgg16")) else 0)


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
    ],
)
def test_a_given_value_overrides_the_recipe_and_nothing_else(key: str, value: object) -> None:
    recipe = asdict(resolve(train_params(**{key: value}), augment_params()))
    assert recipe == asdict(RECIPES["vgg19_finetuned"]) | {key: value}


def test_zero_turns_a_part_of_the_recipe_off() -> None:
    recipe = resolve(train_params(model="cnn_se", patience=0), augment_params())
    assert recipe.patience == 0
    assert resolve(train_params(model="resnet18", head_epochs=0), augment_params()).head_epochs == 0


@pytest.mark.parametrize(
    ("key", "value", "resolved"),
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
def test_a_given_range_overrides_the_recipe_even_where_it_is_zero(
    key: str, value: object, resolved: object
) -> None:
    recipe = resolve(train_params(), augment_params(**{key: value}))
    assert asdict(recipe.augment) == asdict(ARTICLE) | {key: resolved}


def test_the_engine_is_the_given_one() -> None:
    for engine in ("device", "generator"):
        assert resolve(train_params(), augment_params(engine=engine)).engine == engine


def test_an_augmentation_without_ranges_is_off_whatever_its_fill() -> None:
    assert Augmentation().is_off
    assert Augmentation(fill_mode="constant").is_off
    changed = {
        "brightness_range": (0.9, 1.1),
        "right_angle_rotation": True,
        "vertical_flip": True,
        "brightness_delta": 0.1,
        "contrast_range": (0.9, 1.1),
        "stain_jitter": 0.1,
    }
    for key, value in (asdict(ARTICLE) | changed).items():
        if key != "fill_mode":
            assert not replace(Augmentation(), **{key: value}).is_off


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("right_angle_rotation", True),
        ("brightness_delta", 0.1),
        ("contrast_range", [0.9, 1.1]),
        ("stain_jitter", 0.1),
    ],
)
def test_the_generator_refuses_what_it_does_not_have(key: str, value: object) -> None:
    with pytest.raises(MalariaError, match=rf"augment\.{key} is .* augment\.engine to device"):
        resolve(train_params(), augment_params(engine="generator", **{key: value}))


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_one_cycle_refuses_an_optimizer_without_adams_momentum(optimizer: str) -> None:
    with pytest.raises(MalariaError, match=f"train.optimizer is '{optimizer}'.* adam or adamw"):
        resolve(train_params(optimizer=optimizer, schedule="one_cycle"), augment_params())


@pytest.mark.parametrize("key", ["zoom_range", "brightness_range", "contrast_range"])
def test_a_range_that_runs_backwards_is_refused(key: str) -> None:
    with pytest.raises(MalariaError, match=rf"augment\.{key} is \[1\.5, 0\.5\].* lower number"):
        resolve(train_params(), augment_params(**{key: [1.5, 0.5]}))
