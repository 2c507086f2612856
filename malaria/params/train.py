"""Params of the train stage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from malaria.params.base import Section

Weights = Annotated[str, StringConstraints(pattern=r"^(imagenet|none|sha256:[0-9a-f]{64})$")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TrainParams(Section):
    """What is trained and how; null means the value of the model's published recipe."""

    section: ClassVar[str] = "train"
    model: Literal[
        "basic_cnn",
        "vgg19_frozen",
        "vgg19_finetuned",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet_preact",
        "cnn_base",
        "cnn_leaky",
        "cnn_se",
        "vgg16_frozen",
    ]
    weights: Weights
    epochs: int | None = Field(ge=1)
    batch_size: int | None = Field(ge=1)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] | None
    learning_rate: Rate | None
    body_learning_rate: Rate | None = Field(description="of the first layers of a trained body")
    schedule: Literal["constant", "plateau", "linear", "one_cycle"] | None
    patience: int | None = Field(ge=0, description="epochs; 0 never stops")
    head_epochs: int | None = Field(ge=0, description="before `epochs`, with the body frozen")
    head_learning_rate: Rate | None
    keep: Literal["best", "last"]
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
    device: Literal["auto", "cpu", "gpu"]
    distribution: Literal["auto", "single", "data_parallel"]
    seed: int = Field(ge=0, lt=2**32)
