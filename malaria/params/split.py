"""Params of the split stage."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from malaria.params.base import Section

SPLITS = ("train", "val", "test")


class Fractions(Section):
    """Shares of the patients (or cells) in each split; they add up to 1."""

    section: ClassVar[str] = "split.fractions"
    train: float = Field(gt=0, lt=1)
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, val and test add up to {total:g}; they must add up to 1")
        return self


class SplitParams(Section):
    """How cells are divided into train, val and test."""

    section: ClassVar[str] = "split"
    unit: Literal["patient", "cell"]
    fractions: Fractions
    seed: int = Field(ge=0)
