"""What of a user's environment would change results is fixed, or refused in a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import malaria
from malaria.core import environment
from malaria.core.environment import THREADS, check_backend, fix
from malaria.errors import MalariaError
from tests.conftest import REPO

ASK = (
    "import sys, malaria, keras; from keras.src.backend.config import keras_home\n"
    "print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),"
    " keras.config.backend(), keras.config.max_epochs(), keras_home())"
)


def settings(home: Path, **variables: str) -> list[str]:
    """Return Keras' settings in a process of a user with this home."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")}
    asked = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=REPO,
        env=known | {"HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.split()


def test_a_keras_json_of_another_project_changes_nothing(tmp_path: Path) -> None:
    expected = ["float32", "1e-07", "channels_last", "tensorflow", "None"]
    file = tmp_path / ".keras/keras.json"
    file.parent.mkdir()
    theirs = {"floatx": "float16", "image_data_format": "channels_first", "backend": "torch"}
    file.write_text(json.dumps(theirs | {"epsilon": 1e-3}))
    *found, home = settings(tmp_path, KERAS_MAX_EPOCHS="1")
    assert found == expected
    assert home == f"{file.parent}/malaria"
    assert json.loads(file.read_text())["floatx"] == "float16"  # theirs stays as it is


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [
        (None, True),
        ('{"floatx": "float32", "epsilon": 1e-07, "image_data_format": "channels_last"}', True),
        ('{"backend": "jax"}', True),  # KERAS_BACKEND counts more
        ('{"floatx": "float64"}', False),
        ('{"floatx": "bfloat16"}', False),  # Keras refuses to start
        ('{"image_data_format": "channels_first"}', False),
        ('{"epsilon": 0.01}', False),
        ('{"nnx_enabled": true}', False),
        ("[]", False),
        ("{half", False),
    ],
)
def test_the_folder_of_keras_is_left_where_it_is_if_its_settings_are_the_defaults(
    tmp_path: Path, content: str | None, is_kept: bool
) -> None:
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    environ = {"KERAS_HOME": str(tmp_path)}
    fix(environ)
    assert environ["KERAS_HOME"] == str(tmp_path if is_kept else tmp_path / "malaria")
    fix(environ)  # as a process that it starts
    assert environ["KERAS_HOME"] == str(tmp_path if is_kept else tmp_path / "malaria")


def test_what_changes_results_is_fixed_or_removed() -> None:
    environ = {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "KERAS_MAX_EPOCHS": "1",
        "KERAS_MAX_STEPS_PER_EPOCH": "1",
        "KERAS_BACKEND": "",
    }
    fix(environ)
    assert environ.items() >= {
        ("TF_NUM_INTRAOP_THREADS", str(THREADS)),
        ("TF_ENABLE_ONEDNN_OPTS", "1"),
        ("KERAS_BACKEND", "tensorflow"),
    }
    assert "KERAS_MAX_EPOCHS" not in environ
    assert "KERAS_MAX_STEPS_PER_EPOCH" not in environ
    assert malaria.environment is environment  # importing the package does it
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == str(THREADS)


def test_a_backend_that_does_not_work_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_backend({}) == "tensorflow"
    with pytest.raises(MalariaError, match=r"is 'torch', but .* tensorflow or jax"):
        check_backend({"KERAS_BACKEND": "torch"})
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(MalariaError, match=r"the package jax is not installed.*--extra jax"):
        check_backend({"KERAS_BACKEND": "jax"})
