"""How each model was trained where it was published; params override it value by value."""

from dataclasses import dataclass, replace
from typing import Literal

from malaria.params.augment import AugmentParams
from malaria.params.train import TrainParams

Schedule = Literal["constant", "plateau"]
Optimizer = Literal["adam", "rmsprop", "sgd"]


@dataclass(frozen=True)
class Augmentation:
    """Ranges that ImageDataGenerator draws from, with its names, units and defaults."""

    rotation_range: float = 0  # degrees
    width_shift_range: float = 0  # share of the width
    height_shift_range: float = 0  # share of the height
    shear_range: float = 0  # degrees
    zoom_range: float = 0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill_mode: Literal["nearest", "constant"] = "nearest"

    @property
    def is_off(self) -> bool:
        """Whether every drawn image would be the original."""
        return replace(self, fill_mode="nearest") == Augmentation()


@dataclass(frozen=True)
class Recipe:
    """Everything that a training needs to know beside its model and its data."""

    published_size: int  # pixels a side
    epochs: int
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    augment: Augmentation


# The first article's systems (VGG19 study); its shear of .05 is degrees, as Keras has it.
BASIC_CNN = Recipe(125, 25, 64, "adam", 1e-3, "plateau", Augmentation())
RECIPES = {
    "basic_cnn": BASIC_CNN,
    "vgg19_frozen": replace(BASIC_CNN, optimizer="rmsprop", learning_rate=1e-4),
    "vgg19_finetuned": replace(
        BASIC_CNN,
        optimizer="rmsprop",
        learning_rate=1e-5,
        schedule="constant",
        augment=Augmentation(
            rotation_range=25,
            width_shift_range=0.05,
            height_shift_range=0.05,
            shear_range=0.05,
            zoom_range=0.05,
            horizontal_flip=True,
        ),
    ),
}


def resolve(train: TrainParams, augment: AugmentParams) -> Recipe:
    """Return the model's recipe with every value that the params give in its place."""
    recipe = RECIPES[train.model]
    given = {key: value for key, value in augment.model_dump().items() if value is not None}
    chosen = {
        key: value
        for key in ("epochs", "batch_size", "optimizer", "learning_rate", "schedule")
        if (value := getattr(train, key)) is not None
    }
    return replace(recipe, augment=replace(recipe.augment, **given), **chosen)
