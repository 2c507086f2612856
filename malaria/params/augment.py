"""Params of the augmentation: ImageDataGenerator's own argument names and meaning."""

from typing import ClassVar, Literal

from pydantic import Field

from malaria.params.base import Section


class AugmentParams(Section):
    """Ranges that ImageDataGenerator draws from; null means the model's recipe."""

    section: ClassVar[str] = "augment"
    rotation_range: float | None = Field(ge=0, le=180, description="degrees")
    width_shift_range: float | None = Field(ge=0, lt=1, description="share of the width")
    height_shift_range: float | None = Field(ge=0, lt=1, description="share of the height")
    shear_range: float | None = Field(ge=0, le=90, description="degrees")
    zoom_range: float | None = Field(ge=0, lt=1, description="1 - zoom to 1 + zoom")
    horizontal_flip: bool | None
    vertical_flip: bool | None
    fill_mode: Literal["nearest", "constant"] | None
