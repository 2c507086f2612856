"""What several test files share."""

import io
import resource
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from xdist.scheduler import LoadFileScheduling

REPO = Path(__file__).resolve().parents[1]
DEMOS = "tests/end_to_end/"


class ByFile(LoadFileScheduling):
    """Gives a worker all tests of a file; of the fast ones, all that share the tiny demo."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        is_fast = self.config.getoption("markexpr") == "not slow"
        return DEMOS if is_fast and file.startswith(DEMOS) else file


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """Take this scheduler in the place of pytest-xdist's own `loadfile`."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def png(pixels: np.ndarray, **options: int) -> bytes:
    """Return uint8 (H, W, 3) RGB pixels as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(file, "PNG", **options)
    return file.getvalue()


def write_cell_zip(path: Path, entries: Mapping[str, bytes]) -> Path:
    """Write a zip in the official layout; keys are names below cell_images/."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"cell_images/{name}", content)
    return path


@contextmanager
def little_space(count: int) -> Iterator[None]:
    """Let no file become larger than `count` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def random_images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Return uint8 (count, size, size, 3) noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
