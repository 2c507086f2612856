"""What several test files share."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

REPO = Path(__file__).resolve().parents[1]


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB pixels as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(file, "PNG")
    return file.getvalue()


def write_cell_zip(path: Path, entries: Mapping[str, bytes]) -> Path:
    """Write a zip in the official layout; keys are names below cell_images/."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"cell_images/{name}", content)
    return path


def random_images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Return uint8 (count, size, size, 3) noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
