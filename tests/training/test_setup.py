"""What a training starts from: the warnings, and what train.json says of it."""

from dataclasses import asdict, replace
from typing import Any

import keras
import pytest

from malaria.models.base.system import find_system
from malaria.training.backend import Runtime
from malaria.training.batches import Share
from malaria.training.setup import Setup
from tests.training.test_recipe import train_params
from tests.training.toy import bright_and_dark, small


def setup_of(
    model: str, runtime: Runtime | None = None, head_epochs: int = 0, size: int = 8, **given: Any
) -> Setup:
    """Return a setup of 8-pixel cells whose recipe was published at 8 pixels, or at `size`."""
    recipe = replace(find_system(model).recipe, published_size=size, head_epochs=head_epochs)
    params = train_params(model=model, **given)
    return Setup(params, recipe, runtime or Runtime("cpu", "float32"), small(), bright_and_dark())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "basic_cnn", "weights": "none"}, None),
        ({"model": "resnet18", "head_epochs": 2}, None),
        ({"model": "basic_cnn"}, "basic_cnn has no pre-trained body; train.weights is not used"),
        ({"model": "resnet18", "weights": "none"}, None),
        ({"model": "resnet18", "weights": "none", "head_epochs": 2}, "so 2 epochs of the head"),
        ({"model": "resnet18", "size": 9}, "images have 8 px; the recipe was published at 9 px"),
        ({"model": "resnet18", "runtime": Runtime("gpu", "float32", idle=3)}, "devices left idle"),
    ],
)
def test_values_that_work_but_surprise_are_named(given: dict[str, Any], said: str | None) -> None:
    warnings = list(setup_of(**given).warnings())
    assert len(warnings) == (0 if said is None else 1)
    assert (said or "") in "".join(warnings)


def test_idle_devices_are_no_surprise_if_one_was_asked_for() -> None:
    idle = Runtime("gpu", "float32", idle=3)
    (warning,) = setup_of("resnet18", idle).warnings()
    assert warning.startswith(f"gpu devices left idle: 3; the {keras.backend.backend()} backend")
    assert list(setup_of("resnet18", idle, distribution="single").warnings()) == []


def test_the_summary_says_what_was_resolved() -> None:
    setup = setup_of("basic_cnn", Runtime("gpu", "mixed_bfloat16", Share(2)))
    assert str(setup) == "basic_cnn, 4 parameters, mixed_bfloat16 on 2 x gpu"
    assert str(setup_of("basic_cnn")) == "basic_cnn, 4 parameters, float32 on the cpu"
    assert setup.summary == {
        "model": "basic_cnn",
        "weights": "none",  # whatever the params say: it has no pre-trained body
        "parameters": 4,
        "size": 8,
        "device": "gpu",
        "backend": keras.backend.backend(),
        "precision": "mixed_bfloat16",
        "devices": 2,
        "recipe": asdict(setup.recipe),
        "published": {"published_size": 125},
    }
