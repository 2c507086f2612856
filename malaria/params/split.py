"""Params of the split stage."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from malaria.params.base import Section, Sha256

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


class Corrections(Section):
    """A reviewed list of doubtful labels, as `malaria audit` writes it."""

    section: ClassVar[str] = "split.corrections"
    path: str = Field(min_length=1)
    sha256: Sha256


class SplitParams(Section):
    """How cells are divided into train, val and test, and whose training labels were corrected."""

    section: ClassVar[str] = "split"
    unit: Literal["patient", "cell"]
    fractions: Fractions
    seed: int = Field(ge=0)
    folds: int | None = Field(ge=3, le=50)
    fold: int | None = Field(ge=1, description="the fold that is the test split")
    corrections: Corrections | None

    @model_validator(mode="after")
    def _fold_of_folds(self) -> Self:
        if (self.folds is None) != (self.fold is None):
            raise ValueError(f"folds is {self.folds} and fold {self.fold}; set both or neither")
        if self.folds is not None and self.fold is not None and self.fold > self.folds:
            raise ValueError(f"fold is {self.fold}, but there are {self.folds} folds")
        return self
