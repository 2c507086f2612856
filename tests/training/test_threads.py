"""The same bytes whatever number of cores a training may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

SCRIPT = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
from dataclasses import replace
from pathlib import Path
import keras, numpy as np
from malaria.models.base.build import build
from malaria.prediction.predict import predictor
from malaria.training import backend
from malaria.training.train import weights_digest
from tests.training.toy import PLAIN, bright_and_dark, fit
backend.prepare("cpu", "float32", 7)
model = build("basic_cnn", 32, None)
cells = bright_and_dark(32, 256, 64)
recipe = replace(PLAIN, epochs=1, batch_size=64, optimizer="adam", learning_rate=1e-3)
fit(model, cells, recipe, Path(sys.argv[2]))
logits = predictor(model)(cells.array, np.arange(len(cells.array)))
print(keras.backend.backend(), weights_digest(model), logits.tobytes().hex())
"""


def trained(cores: list[int], folder: Path, backend: str) -> str:
    """Return the digests of a training, and its logits, in a process that has these cores."""
    asked = subprocess.run(
        [sys.executable, "-c", SCRIPT, ",".join(map(str, cores)), str(folder)],
        cwd=REPO,
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith(backend)
    return asked.stdout


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux limits the cores")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_one_core_gives_the_bytes_of_all(tmp_path: Path, backend: str) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        pytest.skip("this process has one core")
    assert trained(cores[:1], tmp_path, backend) == trained(cores, tmp_path, backend)
