"""Params of training: the model, its recipe and the augmentation of the images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from malaria.core.params import OR_RECIPE, Section
from malaria.models.base.recipe import Engine, FillMode, Optimizer, Schedule
from malaria.models.base.system import check_name

Weights = Annotated[str, StringConstraints(pattern=r"^(imagenet|vgg16|none|arrays:[0-9a-f]{64})$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]  # lowest and highest factor


class TrainParams(Section):
    """The training; None stands for the value of the model's published recipe."""

    section: ClassVar[str] = "train"
    model: Annotated[str, AfterValidator(check_name)]
    weights: Weights
    epochs: Annotated[int | None, Field(ge=1), OR_RECIPE]
    batch_size: Annotated[int | None, Field(ge=1), OR_RECIPE]
    optimizer: Annotated[Optimizer | None, OR_RECIPE]
    learning_rate: Annotated[Positive | None, OR_RECIPE]
    body_learning_rate: Annotated[
        Positive | None, Field(description="of a pre-trained body's first layers"), OR_RECIPE
    ]
    schedule: Annotated[Schedule | None, OR_RECIPE]
    patience: Annotated[int | None, Field(ge=0, description="epochs; 0 never stops"), OR_RECIPE]
    head_epochs: Annotated[
        int | None, Field(ge=0, description="first, with a frozen body"), OR_RECIPE
    ]
    head_learning_rate: Annotated[Positive | None, OR_RECIPE]
    averaging: Annotated[
        float | None,
        Field(ge=0, lt=1, description="share that a step retains; 0 averages nothing"),
        OR_RECIPE,
    ]
    keep: Literal["best", "last"]
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
    device: Literal["auto", "cpu", "gpu"]
    distribution: Literal["auto", "single", "data_parallel"]
    seed: int = Field(ge=0, lt=2**32)


def _zoom_pair(value: Any) -> Any:
    """Return [1 - z, 1 + z] for a number z, as ImageDataGenerator reads it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not 0 <= value < 1:
        raise ValueError(f"{value} is not from 0 to below 1; give such a number or two factors")
    return [1 - value, 1 + value]


class AugmentParams(Section):
    """Ranges of the augmentation; None stands for the value of the model's published recipe."""

    section: ClassVar[str] = "augment"
    engine: Engine
    rotation_range: Annotated[float | None, Field(ge=0, le=180), OR_RECIPE]  # degrees
    width_shift_range: Annotated[float | None, Field(ge=0, lt=1), OR_RECIPE]  # share of the width
    height_shift_range: Annotated[float | None, Field(ge=0, lt=1), OR_RECIPE]
    shear_range: Annotated[float | None, Field(ge=0, le=90), OR_RECIPE]  # degrees
    # z for [1 - z, 1 + z], or the range itself; one draw per axis
    zoom_range: Annotated[Range | None, BeforeValidator(_zoom_pair), OR_RECIPE]
    horizontal_flip: Annotated[bool | None, OR_RECIPE]
    vertical_flip: Annotated[bool | None, OR_RECIPE]
    brightness_range: Annotated[Range | None, OR_RECIPE]
    fill_mode: Annotated[FillMode | None, OR_RECIPE]
    right_angle_rotation: Annotated[bool | None, OR_RECIPE]  # 0, 90, 180 or 270 degrees
    brightness_delta: Annotated[float | None, Field(ge=0, le=1), OR_RECIPE]  # share of 255
    contrast_range: Annotated[Range | None, OR_RECIPE]
    stain_jitter: Annotated[float | None, Field(ge=0, lt=1), OR_RECIPE]  # share of the density
