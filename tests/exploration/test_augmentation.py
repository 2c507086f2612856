"""The picture of augmentation."""

from pathlib import Path

from PIL import Image

from malaria.exploration.augmentation import draw_augmentation
from malaria.models.base.recipe import Augmentation
from tests.conftest import random_images


def test_the_picture_has_a_row_for_each_cell(tmp_path: Path) -> None:
    images, names = random_images(3, 24), ["a", "b", "c"]
    augmentation = Augmentation(rotation_range=40, stain_jitter=0.2)
    path, off = tmp_path / "a.png", tmp_path / "off.png"
    assert 0 < draw_augmentation(images, names, augmentation, path, "title") < 1e-2
    assert Image.open(path).size == (950, 449)
    assert draw_augmentation(images, names, Augmentation(), off, "title") < 1e-3
    assert off.read_bytes() != path.read_bytes()
