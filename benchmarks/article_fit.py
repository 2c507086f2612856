"""The article's training, run by train_memory.py: all images as float32 in memory.

    python article_fit.py MODEL images.npy cells.csv

It is kept lean: images are scaled straight from the file, without the article's unscaled copy.
"""

import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from malaria.core.table import read_cells
from malaria.models.base.build import build
from malaria.models.base.system import find_system
from malaria.training.optimizers import make_optimizer


def main(name: str, images: Path, cells: Path) -> None:
    """Fit the model for one epoch on arrays in memory."""
    array = np.load(images, mmap_mode="r")
    table = read_cells(cells)
    labels = table["label"].to_numpy().astype("float32")[:, None]
    x, y = {}, {}
    for split in ("train", "val", "test"):  # the article loads all three before it trains
        rows = np.flatnonzero(table["split"] == split)
        part = slice(rows[0], rows[-1] + 1)  # train_memory.py writes splits without gaps
        x[split] = np.divide(array[part], 255, dtype=np.float32)
        y[split] = labels[part]

    whole = build(name, array.shape[1], weights=None)
    # The images are scaled already, so the model begins after its own scaling.
    model = keras.Model(whole.get_layer("scale").output, whole.output)
    recipe = find_system(name).recipe
    optimizer = make_optimizer(recipe.optimizer, "constant", recipe.learning_rate, steps=1)
    model.compile(optimizer, "binary_crossentropy")
    model.fit(
        x["train"],
        y["train"],
        validation_data=(x["val"], y["val"]),
        batch_size=recipe.batch_size,
        epochs=1,
        verbose=0,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
