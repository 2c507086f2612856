"""What tests of a training need before a model is built."""

from dataclasses import replace

import pytest

from malaria.models.systems import basic_cnn
from malaria.training import backend


@pytest.fixture
def prepared() -> None:
    backend.prepare("auto", "float32", 1)


@pytest.fixture
def body_of_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives basic_cnn the groups of `with_body`."""
    groups = (("low",), ("high",))
    monkeypatch.setattr(basic_cnn, "SYSTEM", replace(basic_cnn.SYSTEM, groups=groups))


@pytest.fixture(params=["device", "generator"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)
