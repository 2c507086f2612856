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

if __name__ == "__main__":
    sys.path.insert(0, str(STAGES.parent))
    names = sorted(path.stem for path in STAGES.glob("*.py") if path.stem != "__main__")
    if sys.argv[1:] not in ([name] for name in names):
        sys.exit(f"python stages {' '.join(sys.argv[1:])}: name one of {', '.join(names)}.")
    name = sys.argv[1]
    from malaria.quiet_keras import held_back
    from malaria.tracking.stage import run_stage

    def main(run: "StageRun") -> None:
        with held_back():
            stage = import_module(f"stages.{name}")
        stage.main(run)

    run_stage(name, main)
