"""Published networks, found by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from malaria.models.base.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from malaria.models.base.weights import Weights

FOLDER = Path(__file__).resolve().parents[1] / "systems"


@dataclass(frozen=True)
class System:
    """A network's layers up to its logit, the recipe it was published with, and its source.

    `groups` are the parts of a pre-trained body, from the image on, each given by the prefixes
    of its layers' names; all other layers are the head.
    """

    source: str
    features: "Callable[[keras.KerasTensor, Weights], keras.KerasTensor]"
    recipe: Recipe
    groups: tuple[tuple[str, ...], ...] = ()
    frozen_until: str | None = None  # last layer of a body that is never trained
    two_classes: bool = False  # a softmax of two classes, whose logits are subtracted
    smallest: int = 16  # pixels a side; its layers shrink smaller images to nothing

    @property
    def pretrained(self) -> bool:
        """Whether it has a pre-trained body."""
        return bool(self.groups)


def names() -> list[str]:
    """Return the values of train.model: the names of the files in malaria/models/systems."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def check_name(name: str) -> str:
    """Return `name` if a system has it; raises ValueError if none has."""
    if name not in names():
        raise ValueError(f"{name!r} is not a system; choose from {', '.join(names())}")
    return name


def find_system(name: str) -> System:
    """Return the system with one of these `names`."""
    system: System = import_module(f"malaria.models.systems.{name}").SYSTEM
    return system
