"""The picture of augmentation."""

from pathlib import Path

from PIL import Image

from malaria.exploration.augmentation import draw_augmentation
from malaria.models.base.recipe import Augmentation
from tests.conftest import random_images


def test_the_picture_has_a_row_for_each_cell(tmp_path: Path) -> None:
    images, names = random_images(3, 24), ["a", "b", "c"]
    augmentation = Augmentation(rotation_range=40, stain_jitter=0.2)
    path = tmp_path / "a.png"
    difference = draw_augmentation(images, names, augmentation, path, "title")
    assert difference is not None
    assert 0 < difference < 1e-2
    assert Image.open(path).size == (950, 449)


def test_without_augmentation_there_is_no_picture(tmp_path: Path) -> None:
    off = Augmentation(fill_mode="constant")
    assert draw_augmentation(random_images(1, 8), ["a"], off, tmp_path / "a.png", "title") is None
    assert not list(tmp_path.iterdir())
