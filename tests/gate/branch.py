"""A branch on which results and params of the pilot are committed."""

from pathlib import Path
from typing import Any

from malaria.core.yaml_files import dump_yaml
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from tests.gate.test_judge import REASON, RULES, files
from tests.git_repo import git

OTHER = "b" * 40


class Branch:
    """A branch `main` on which results and params of the pilot are committed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        git(root, "init", "-q", "-b", "main")
        git(root, "commit", "-q", "--allow-empty", "-m", "no results")
        (root / "pilot/reports").mkdir(parents=True)

    @property
    def tip(self) -> str:
        return git(self.root, "rev-parse", "HEAD")

    def write(self, frame: Any = None, **decisions: Any) -> None:
        """Leave results (None: none) and params in the work tree."""
        (self.root / "pilot/reports").mkdir(parents=True, exist_ok=True)
        for path in (PREDICTIONS, METRICS):
            (self.root / "pilot" / path).unlink(missing_ok=True)
        if frame is not None:
            found = files(frame)
            (self.root / "pilot" / PREDICTIONS).write_bytes(found.predictions)
            (self.root / "pilot" / METRICS).write_bytes(found.metrics)
        (self.root / "pilot" / PARAMS).write_text(dump_yaml({"gate": RULES | decisions}))

    def commit(self, frame: Any = None, **decisions: Any) -> str:
        self.write(frame, **decisions)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "results")
        return self.tip

    def decided(self, commit: str | None = None) -> dict[str, str]:
        return {"commit": commit or self.tip, "reason": REASON}
