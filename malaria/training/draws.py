"""The random numbers of augmentation, and the plan that the device computes from them."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from malaria.models.base.recipe import UNCHANGED, Augmentation

MATRIX = slice(0, 8)  # columns of a plan: keras.ops.image.affine_transform's `transform`
BRIGHTNESS = slice(8, 9)
DELTA = slice(9, 10)
CONTRAST = slice(10, 11)
STAIN = slice(11, 14)
PLAN_WIDTH = 14
# Of 0, 90, 180 and 270 degrees; exact, so a turn keeps every pixel.
EXACT_COS = np.array([1, 0, -1, 0])
EXACT_SIN = np.array([0, 1, 0, -1])


@dataclass(frozen=True)
class Draws:
    """One number per image and parameter, by the names of ImageDataGenerator; then ours."""

    theta: np.ndarray  # (N,) degrees
    tx: np.ndarray  # (N,) pixels along x, although Keras draws it from height_shift_range
    ty: np.ndarray  # (N,) pixels along y, from width_shift_range
    shear: np.ndarray  # (N,) degrees
    zx: np.ndarray  # (N,) along x
    zy: np.ndarray  # (N,) along y
    flip_horizontal: np.ndarray  # (N,) bool
    flip_vertical: np.ndarray  # (N,) bool
    brightness: np.ndarray  # (N,) factor
    quarter_turns: np.ndarray  # (N,) 0 to 3, counter-clockwise
    delta: np.ndarray  # (N,) grey values to add
    contrast: np.ndarray  # (N,) factor
    stain: np.ndarray  # (N, 3) factor of each channel's optical density

    def of(self, index: int) -> dict[str, float]:
        """Return image `index`'s numbers under ImageDataGenerator's names."""
        names = [field.name for field in fields(self)][:9]
        return {name: getattr(self, name)[index].item() for name in names}


def draw(augmentation: Augmentation, count: int, size: int, rng: np.random.Generator) -> Draws:
    """Return draws for `count` images of `size` pixels a side.

    The distributions are those of ImageDataGenerator.get_random_transform: uniform over each
    range, with one zoom per axis and a flip of every second image.
    """

    def within(reach: float) -> np.ndarray:
        return rng.uniform(-reach, reach, count)

    def between(limits: tuple[float, float]) -> np.ndarray:
        return rng.uniform(*limits, count)

    def half(wanted: bool) -> np.ndarray:
        return (rng.random(count) < 0.5) & wanted

    turns = rng.integers(0, 4, count)
    return Draws(
        theta=within(augmentation.rotation_range),
        tx=within(augmentation.height_shift_range) * size,
        ty=within(augmentation.width_shift_range) * size,
        shear=within(augmentation.shear_range),
        zx=between(augmentation.zoom_range),
        zy=between(augmentation.zoom_range),
        flip_horizontal=half(augmentation.horizontal_flip),
        flip_vertical=half(augmentation.vertical_flip),
        brightness=between(augmentation.brightness_range),
        quarter_turns=turns if augmentation.right_angle_rotation else np.zeros_like(turns),
        delta=within(augmentation.brightness_delta) * 255,
        contrast=between(augmentation.contrast_range),
        stain=1 + rng.uniform(-1, 1, (count, 3)) * augmentation.stain_jitter,
    )


def plan(draws: Draws, size: int) -> np.ndarray:
    """Return the draws as float32 (N, 14), as the device reads them."""
    count = len(draws.theta)
    affine = output_to_input(draws, size)[:, :2].reshape(count, 6)
    no_projection = np.zeros((count, 2))
    colours = [draws.brightness, draws.delta, draws.contrast, draws.stain]
    return np.column_stack([affine, no_projection, *colours]).astype("float32")


def output_to_input(draws: Draws, size: int) -> np.ndarray:
    """Return for each image the 3x3 matrix from (x, y, 1) of its output to (x, y, 1) of its input.

    x counts columns and y rows. The matrix is ImageDataGenerator's composition (rotation, shift,
    shear and zoom about the centre), then its flips, then our turns.
    """
    theta, shear = np.deg2rad(draws.theta), np.deg2rad(draws.shear)
    rotation = _affine(np.cos(theta), -np.sin(theta), np.sin(theta), np.cos(theta))
    shift = _affine(1, 0, 0, 1, draws.tx, draws.ty)
    shearing = _affine(1, -np.sin(shear), 0, np.cos(shear))
    zoom = _affine(draws.zx, 0, 0, draws.zy)
    flips = _affine(1 - 2 * draws.flip_horizontal, 0, 0, 1 - 2 * draws.flip_vertical)
    cos, sin = EXACT_COS[draws.quarter_turns], EXACT_SIN[draws.quarter_turns]
    turns = _affine(cos, -sin, sin, cos)
    middle = (size - 1) / 2
    to_centre = _affine(1, 0, 0, 1, -middle, -middle)
    back = _affine(1, 0, 0, 1, middle, middle)
    product: np.ndarray = back @ rotation @ shift @ shearing @ zoom @ flips @ turns @ to_centre
    return product


def _affine(
    a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, e: ArrayLike = 0, f: ArrayLike = 0
) -> np.ndarray:
    """Return [[a, b, e], [c, d, f], [0, 0, 1]], one for each image: (N, 3, 3), or (1, 3, 3)."""
    entries = np.broadcast_arrays(*np.atleast_1d(a, b, e, c, d, f, 0, 0, 1))
    return np.stack(entries, axis=-1).reshape(-1, 3, 3).astype("float64")


def moves(augmentation: Augmentation) -> bool:
    """Whether any draw moves pixels, instead of only changing colours."""
    colourless = replace(augmentation, brightness_range=UNCHANGED, contrast_range=UNCHANGED)
    return not replace(colourless, brightness_delta=0, stain_jitter=0).is_off
