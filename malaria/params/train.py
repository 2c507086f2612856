"""Params of the train stage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from malaria.params.base import Section

Weights = Annotated[str, StringConstraints(pattern=r"^(imagenet|none|sha256:[0-9a-f]{64})$")]


class TrainParams(Section):
    """What is trained and how; null means the value of the model's published recipe."""

    section: ClassVar[str] = "train"
    model: Literal["basic_cnn", "vgg19_frozen", "vgg19_finetuned"]
    weights: Weights
    epochs: int | None = Field(ge=1)
    batch_size: int | None = Field(ge=1)
    optimizer: Literal["adam", "rmsprop", "sgd"] | None
    learning_rate: float | None = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "plateau"] | None
    keep: Literal["best", "last"]
    precision: Literal["float32", "mixed_bfloat16"]
    device: Literal["auto", "cpu", "gpu"]
    seed: int = Field(ge=0, lt=2**32)
