"""A picture of what augmentation does to cells: originals, and the draws of both engines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from malaria.drawing import save_figure
from malaria.models.base.recipe import OURS, UNCHANGED, Augmentation
from malaria.training.augment import image_data_generator, transform
from malaria.training.draws import Draws, draw, plan

DRAWS = 3


def draw_augmentation(
    images: np.ndarray,
    names: Sequence[str],
    augmentation: Augmentation,
    path: Path,
    title: str,
) -> float | None:
    """Draw a row for each uint8 (S, S, 3) image: the original, then draws by both engines.

    Each pair of generator and device uses the same random numbers; only the device draws what
    ImageDataGenerator lacks. Returns the largest difference between the two in what both have,
    on the scale of 0 to 255. If the augmentation is off, it draws nothing and returns None.
    """
    if augmentation.is_off:
        return None
    shared = replace(augmentation, **{name: getattr(Augmentation(), name) for name in OURS})
    headings = [f"{engine} {n}" for n in range(1, DRAWS + 1) for engine in ("generator", "device")]
    figure = Figure(figsize=(9.5, 1.33 * len(images) + 0.5), layout="constrained")
    axes = figure.subplots(len(images), 1 + len(headings), squeeze=False)
    differences = []
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        copies = np.repeat(image[None], DRAWS, axis=0)
        draws = draw(augmentation, DRAWS, len(image), np.random.default_rng(row))
        generated = by_generator(copies, draws, augmentation)
        differences.append(abs(generated - on_device(copies, draws, shared)).max())
        pairs = np.stack([generated, on_device(copies, draws, augmentation)], axis=1)
        shown = [image, *pairs.reshape(-1, *image.shape)]
        for ax, pixels in zip(axes[row], shown, strict=True):
            ax.imshow(np.rint(pixels).astype("uint8"))
            ax.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, fontsize=9)
    for ax, heading in zip(axes[0], ["original", *headings], strict=True):
        ax.set_title(heading, fontsize=9)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)
    return float(max(differences))


def on_device(images: np.ndarray, draws: Draws, augmentation: Augmentation) -> np.ndarray:
    """Return what the device makes of uint8 (N, S, S, 3) images, as float32."""
    return keras.ops.convert_to_numpy(transform(images, plan(draws, images.shape[1]), augmentation))


def by_generator(images: np.ndarray, draws: Draws, augmentation: Augmentation) -> np.ndarray:
    """Return what ImageDataGenerator makes of the same images, as float32."""
    generator = image_data_generator(augmentation)
    made = []
    for index, image in enumerate(images):
        given: dict[str, float | None] = dict(draws.of(index))
        if augmentation.brightness_range == UNCHANGED:
            given["brightness"] = None  # a factor of 1 would cut grey values to whole ones
        made.append(generator.apply_transform(image.astype("float32"), given))
    return np.stack(made)
