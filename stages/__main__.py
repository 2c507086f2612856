"""Runs one stage: `python stages train`, in the folder of a dvc.yaml.

Puts this checkout's library before any other: a queued or temporary experiment runs in a checkout
of its own, where an editable install would silently import the workspace's library.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun

STAGES = Path(__file__).resolve().parent
OLDEST = (3, 11)  # requires-python of pyproject.toml
INTERRUPTED = 130


def run(name: str) -> None:
    """Run a stage in the working folder, logged to MLflow."""
    from malaria.quiet_keras import held_back
    from malaria.tracking.stage import run_stage

    def main(run: "StageRun") -> None:
        with held_back():
            stage = import_module(f"stages.{name}")
        stage.main(run)

    run_stage(name, main)


def refuse_python(name: str, lacks: str) -> None:
    """Exit with a sentence for a Python that is not the one of the project's environment."""
    sys.exit(
        f"{name}: {sys.executable} {lacks}: this dvc does not run in the project's environment; "
        "start it as `uv run dvc ...`, here `uv run dvc repro` (old outputs that it has deleted "
        "are in DVC's cache and in Git)."
    )


if __name__ == "__main__":
    sys.path.insert(0, str(STAGES.parent))
    names = sorted(path.stem for path in STAGES.glob("*.py") if path.stem != "__main__")
    if sys.argv[1:] not in ([name] for name in names):
        sys.exit(f"python stages {' '.join(sys.argv[1:])}: name one of {', '.join(names)}.")
    name = sys.argv[1]
    if sys.version_info < OLDEST:  # whatever `python` is where dvc was started
        refuse_python(name, f"is Python {sys.version_info[0]}.{sys.version_info[1]}")
    try:
        run(name)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("malaria", "stages"):
            raise
        refuse_python(name, f"lacks the package {error.name}")
    except KeyboardInterrupt:  # while packages are imported; run_stage says more
        print(f"{name}: interrupted before it began; run the same command again.", file=sys.stderr)
        sys.exit(INTERRUPTED)
