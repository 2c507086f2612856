"""Params of the stages fetch, split and preprocess."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from malaria.core.addresses import has_secret, shown
from malaria.core.params import OR_NONE, Section, Sha256

SYNTHETIC = "synthetic"


class SyntheticParams(Section):
    """How the synthetic smears are drawn."""

    section: ClassVar[str] = "fetch.synthetic"
    infected_patients: int = Field(ge=3)
    healthy_patients: int = Field(ge=3)
    cells: int = Field(ge=60, description="cells in all, spread unevenly over the patients")
    seed: int = Field(ge=0)


def is_address(url: str) -> bool:
    """Return whether `fetch.url` is an http(s) address, not a path."""
    return url.lower().startswith(("http://", "https://"))


class FetchParams(Section):
    """Where the cell images come from, which cells they must be, and the zip that is made."""

    section: ClassVar[str] = "fetch"
    url: str = Field(min_length=1, description="http(s) address, path, or 'synthetic'")
    download: Annotated[Sha256 | None, OR_NONE]
    patients: Annotated[str | None, Field(min_length=1, description="path of a list"), OR_NONE]
    cells: Annotated[Sha256 | None, OR_NONE]
    sha256: Annotated[Sha256 | None, OR_NONE]
    synthetic: Annotated[SyntheticParams | None, OR_NONE]

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        if has_secret(url):
            raise ValueError(
                f"{shown(url)!r} has a password or token, which Git, dvc.lock and MLflow would "
                "keep; put user and password into ~/.netrc, or the file itself into a folder that "
                "MALARIA_MIRROR names"
            )
        return url

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        pins = {"cells": self.cells, "sha256": self.sha256}
        real = pins | {"download": self.download, "patients": self.patients}
        if self.url == SYNTHETIC:
            given = [key for key, value in real.items() if value is not None]
            if self.synthetic is None or given:
                raise ValueError(
                    "url 'synthetic' needs a `synthetic` section, and none for download, patients, "
                    "cells and sha256, because the seed fixes the bytes"
                )
            return self
        missing = [key for key, value in pins.items() if value is None]
        if self.synthetic is not None or missing:
            raise ValueError(
                f"url {self.url!r} needs cells and sha256, which pin what is taken and what is "
                "left, and synthetic: none"
            )
        if is_address(self.url) and self.download is None:
            raise ValueError(f"url {self.url!r} needs download, the SHA-256 of the file there")
        return self


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
    """How cells are divided into train, val and test, and which training labels are corrected."""

    section: ClassVar[str] = "split"
    unit: Literal["patient", "cell"]
    fractions: Fractions
    seed: int = Field(ge=0)
    folds: Annotated[int | None, Field(ge=3, le=50), OR_NONE]
    fold: Annotated[int | None, Field(ge=1, description="the test split's fold"), OR_NONE]
    corrections: Annotated[Corrections | None, OR_NONE]

    @model_validator(mode="after")
    def _fold_of_folds(self) -> Self:
        if (self.folds is None) != (self.fold is None):
            shown = [value or "none" for value in (self.folds, self.fold)]
            raise ValueError(f"folds is {shown[0]} and fold {shown[1]}; set both or neither")
        if self.folds is not None and self.fold is not None and self.fold > self.folds:
            raise ValueError(f"fold is {self.fold}, but there are {self.folds} folds")
        return self


class PreprocessParams(Section):
    """How a cell's crop becomes an array."""

    section: ClassVar[str] = "preprocess"
    size: int = Field(ge=16, le=512, description="height and width in pixels")
