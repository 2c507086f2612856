"""What messages say of DVC's commands."""

from pathlib import Path

import pytest

from malaria.paths import from_remote

REMOTE = "['remote \"store\"']\n    url = s3://bucket\n"


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ("", ""),
        (REMOTE, ""),  # no default, so a plain `dvc pull` fails
        (f"[core]\n    remote = store\n{REMOTE}", "uv run dvc --cd demo pull"),
    ],
)
def test_a_remote_is_named_only_if_a_default_one_is_set(
    tmp_path: Path, config: str, command: str
) -> None:
    (tmp_path / "demo/.dvc").mkdir(parents=True)
    (tmp_path / "demo/.dvc/config").write_text(config)
    assert from_remote(tmp_path, "demo", "pull") == command
