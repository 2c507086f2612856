"""How each model was trained where it was published; params override it value by value."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from malaria.errors import MalariaError
from malaria.params.augment import AugmentParams
from malaria.params.train import TrainParams

Engine = Literal["device", "generator"]
Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
Schedule = Literal["constant", "plateau", "linear", "one_cycle"]
Range = tuple[float, float]
UNCHANGED: Range = (1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """What images are drawn from: ImageDataGenerator's names, units and defaults, then ours."""

    rotation_range: float = 0  # degrees
    width_shift_range: float = 0  # share of the width
    height_shift_range: float = 0  # share of the height
    shear_range: float = 0  # degrees
    zoom_range: Range = UNCHANGED  # one draw an axis
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness_range: Range = UNCHANGED
    fill_mode: Literal["nearest", "constant"] = "nearest"
    right_angle_rotation: bool = False  # a quarter turn is as likely as none
    brightness_delta: float = 0  # share of 255 that is added, -delta to delta
    contrast_range: Range = UNCHANGED  # of the distance from the mean of the image's channel
    stain_jitter: float = 0  # optical density of each channel times 1 - jitter to 1 + jitter

    @property
    def is_off(self) -> bool:
        """Whether every drawn image would be the original."""
        return replace(self, fill_mode="nearest") == Augmentation()


# Of the arguments above, those that ImageDataGenerator does not have.
OURS = ("right_angle_rotation", "brightness_delta", "contrast_range", "stain_jitter")


@dataclass(frozen=True)
class Recipe:
    """Everything that a training needs to know beside its model and its data."""

    published_size: int  # pixels a side
    epochs: int  # after head_epochs
    batch_size: int
    optimizer: Optimizer
    learning_rate: float  # the highest, where the schedule moves it; of the head, below
    schedule: Schedule
    augment: Augmentation = Augmentation()
    engine: Engine = "device"
    patience: int = 0  # epochs without a lower val_loss until training stops; 0 never stops
    head_epochs: int = 0  # with the body frozen but for its batch normalisation
    head_learning_rate: float | None = None  # in these epochs; None: learning_rate
    body_learning_rate: float | None = None  # of the first layers; None: learning_rate


FLIPS = Augmentation(horizontal_flip=True, vertical_flip=True)
# The shear of .05 that two articles give is degrees in Keras: almost nothing.
SHIFTED = Augmentation(
    width_shift_range=0.05,
    height_shift_range=0.05,
    shear_range=0.05,
    zoom_range=(0.95, 1.05),
    horizontal_flip=True,
)

# The first article (VGG19 study).
BASIC_CNN = Recipe(125, 25, 64, "adam", 1e-3, "plateau")
# The second article: fastai's fit_one_cycle with its defaults of version 1 (AdamW, 3e-3 for the
# head), then all layers at slice(1e-5, 1e-4).
RESNET18 = Recipe(
    128,
    30,
    512,
    "adamw",
    1e-4,
    "one_cycle",
    augment=FLIPS,
    head_epochs=10,
    head_learning_rate=3e-3,
    body_learning_rate=1e-5,
)
RESNET34 = replace(RESNET18, batch_size=256)
# The notebook: 50 epochs are our bound, early stopping decides.
NOTEBOOK = Recipe(64, 50, 100, "adam", 1e-3, "constant", patience=5)

RECIPES = {
    "basic_cnn": BASIC_CNN,
    "vgg19_frozen": replace(BASIC_CNN, optimizer="rmsprop", learning_rate=1e-4),
    "vgg19_finetuned": replace(
        BASIC_CNN,
        optimizer="rmsprop",
        learning_rate=1e-5,
        schedule="constant",
        augment=replace(SHIFTED, rotation_range=25),
    ),
    "resnet18": RESNET18,
    "resnet34": RESNET34,
    "resnet50": RESNET34,  # its batch is not given
    "resnet_preact": Recipe(
        64, 50, 32, "sgd", 0.1, "linear", augment=replace(SHIFTED, rotation_range=20)
    ),
    "cnn_base": NOTEBOOK,
    # Also published with horizontal_flip, brightness_delta .2 and contrast_range [.7, 1.3].
    "cnn_leaky": NOTEBOOK,
    "cnn_se": NOTEBOOK,
    "vgg16_frozen": NOTEBOOK,
}
OVERRIDABLE = (
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "body_learning_rate",
    "schedule",
    "patience",
    "head_epochs",
    "head_learning_rate",
)


def resolve(train: TrainParams, augment: AugmentParams) -> Recipe:
    """Return the model's recipe with every value that the params give in its place.

    Raises MalariaError for values that do not go together.
    """
    published = RECIPES[train.model]
    drawn: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in augment.model_dump(exclude={"engine"}).items()
        if value is not None
    }
    chosen = {key: value for key in OVERRIDABLE if (value := getattr(train, key)) is not None}
    recipe = replace(
        published,
        augment=replace(published.augment, **drawn),
        engine=augment.engine,
        **chosen,
    )
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    if recipe.schedule == "one_cycle" and recipe.optimizer not in ("adam", "adamw"):
        raise MalariaError(
            f"train.optimizer is {recipe.optimizer!r}: one_cycle moves Adam's momentum too; "
            "set train.optimizer to adam or adamw, or train.schedule to another."
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
