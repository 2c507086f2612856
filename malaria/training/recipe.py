"""The recipe of a training: the published one, overridden by the values in params."""

from dataclasses import asdict, fields, replace
from typing import Any

from malaria.core.params import flatten
from malaria.errors import MalariaError
from malaria.models.base.recipe import OURS, Augmentation, Recipe
from malaria.models.base.system import find_system
from malaria.training.params import AugmentParams, TrainParams


def resolve(train: TrainParams, augment: AugmentParams) -> Recipe:
    """Return the model's recipe, each value replaced by that of the params if they give one.

    Raises MalariaError for values that do not go together.
    """
    published = find_system(train.model).recipe
    chosen = train.model_dump(include={field.name for field in fields(Recipe)}, exclude_none=True)
    ranges: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in augment.model_dump(exclude={"engine"}, exclude_none=True).items()
    }
    drawn = replace(published.augment, **ranges)
    recipe = replace(published, augment=drawn, engine=augment.engine, **chosen)
    _check(recipe)
    return recipe


def overridden(model: str, recipe: Recipe) -> dict[str, Any]:
    """Return the published values, by dotted key, that differ in `recipe`."""
    published, used = (flatten(asdict(one)) for one in (find_system(model).recipe, recipe))
    return {key: published[key] for key in published if used[key] != published[key]}


def _check(recipe: Recipe) -> None:
    if recipe.schedule == "one_cycle" and recipe.optimizer not in ("adam", "adamw"):
        raise MalariaError(
            f"train.optimizer is {recipe.optimizer!r}, but one_cycle also moves Adam's momentum; "
            "set train.optimizer to adam or adamw, or choose another train.schedule."
        )
    ours = [key for key in OURS if getattr(recipe.augment, key) != getattr(Augmentation(), key)]
    if recipe.engine == "generator" and ours:
        raise MalariaError(
            f"augment.{ours[0]} is {getattr(recipe.augment, ours[0])}, which ImageDataGenerator "
            "does not have; set augment.engine to device."
        )
    for name in ("zoom_range", "brightness_range", "contrast_range"):
        low, high = getattr(recipe.augment, name)
        if low > high:
            raise MalariaError(f"augment.{name} is [{low}, {high}]; give the lower number first.")
