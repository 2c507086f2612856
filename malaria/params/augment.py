"""Params of the augmentation: ImageDataGenerator's own argument names and meaning, and ours."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from malaria.params.base import Section


def _zoom_pair(value: Any) -> Any:
    """Return [1 - z, 1 + z] for a number z, as ImageDataGenerator reads it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not 0 <= value < 1:
        raise ValueError(f"{value} is not from 0 to below 1; give such a number or two factors")
    return [1 - value, 1 + value]


Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Range = Annotated[list[Factor], Field(min_length=2, max_length=2)]


class AugmentParams(Section):
    """What images are drawn from; null means the model's recipe."""

    section: ClassVar[str] = "augment"
    engine: Literal["device", "generator"]
    rotation_range: float | None = Field(ge=0, le=180, description="degrees")
    width_shift_range: float | None = Field(ge=0, lt=1, description="share of the width")
    height_shift_range: float | None = Field(ge=0, lt=1, description="share of the height")
    shear_range: float | None = Field(ge=0, le=90, description="degrees")
    zoom_range: Annotated[Range | None, BeforeValidator(_zoom_pair)] = Field(
        description="z for 1 - z to 1 + z, or [lowest, highest]; one draw an axis"
    )
    horizontal_flip: bool | None
    vertical_flip: bool | None
    brightness_range: Range | None = Field(description="[lowest, highest] factor")
    fill_mode: Literal["nearest", "constant"] | None
    right_angle_rotation: bool | None = Field(description="0, 90, 180 or 270 degrees")
    brightness_delta: float | None = Field(ge=0, le=1, description="share of 255")
    contrast_range: Range | None = Field(description="[lowest, highest] factor")
    stain_jitter: float | None = Field(ge=0, lt=1, description="share of the optical density")
