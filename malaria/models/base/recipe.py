"""How a model is trained: the published values, each of which params may override."""

from dataclasses import dataclass, replace
from typing import Literal

Engine = Literal["device", "generator"]
FillMode = Literal["nearest", "constant"]
Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
Schedule = Literal["constant", "plateau", "linear", "one_cycle"]
Range = tuple[float, float]
UNCHANGED: Range = (1.0, 1.0)


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes: ImageDataGenerator's names, units and defaults, then ours."""

    rotation_range: float = 0  # degrees
    width_shift_range: float = 0  # share of the width
    height_shift_range: float = 0  # share of the height
    shear_range: float = 0  # degrees
    zoom_range: Range = UNCHANGED  # one draw per axis
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness_range: Range = UNCHANGED
    fill_mode: FillMode = "nearest"
    right_angle_rotation: bool = False  # a quarter turn is as likely as none
    brightness_delta: float = 0  # share of 255 to add, -delta to delta
    contrast_range: Range = UNCHANGED  # factor of the distance from the channel's mean
    stain_jitter: float = 0  # each channel's optical density times 1 - jitter to 1 + jitter

    @property
    def is_off(self) -> bool:
        """Whether it leaves every image as it is."""
        return replace(self, fill_mode="nearest") == Augmentation()


# Those of the fields above that ImageDataGenerator does not have.
OURS = ("right_angle_rotation", "brightness_delta", "contrast_range", "stain_jitter")


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a training besides its model and its data."""

    published_size: int  # pixels a side
    epochs: int  # after head_epochs
    batch_size: int
    optimizer: Optimizer
    learning_rate: float  # the schedule's highest; the head's, if the body has another
    schedule: Schedule
    augment: Augmentation = Augmentation()
    engine: Engine = "device"
    patience: int = 0  # epochs without a lower val_loss before training stops; 0 never stops
    head_epochs: int = 0  # first, with the body frozen except for its batch normalisation
    head_learning_rate: float | None = None  # in those epochs; None: learning_rate
    body_learning_rate: float | None = None  # of the body's first layers; None: learning_rate
    averaging: float = 0  # share of the weights' moving average that each step retains; 0: none


# Two articles give a shear of .05; in Keras that is degrees, so almost nothing.
SHIFTED = Augmentation(
    width_shift_range=0.05,
    height_shift_range=0.05,
    shear_range=0.05,
    zoom_range=(0.95, 1.05),
    horizontal_flip=True,
)
# The first article (VGG19 study).
ARTICLE_1 = Recipe(125, 25, 64, "adam", 1e-3, "plateau")
# The second article: fit_one_cycle with the defaults of fastai 1 (AdamW, 3e-3 for the head), then
# all layers at slice(1e-5, 1e-4).
FASTAI = Recipe(
    128,
    30,
    256,
    "adamw",
    1e-4,
    "one_cycle",
    augment=Augmentation(horizontal_flip=True, vertical_flip=True),
    head_epochs=10,
    head_learning_rate=3e-3,
    body_learning_rate=1e-5,
)
# The notebook: early stopping decides; the limit of 50 epochs is ours.
NOTEBOOK = Recipe(64, 50, 100, "adam", 1e-3, "constant", patience=5)
