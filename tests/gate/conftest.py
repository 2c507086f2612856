"""Fixtures of the gate's tests."""

from pathlib import Path

import pytest

from tests.gate.branch import Branch


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    """A branch `main` without results."""
    return Branch(tmp_path)
