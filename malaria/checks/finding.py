"""One thing that was looked at, and how a program is asked for it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """`fail`: something does not work; `warn`: it may not, or costs; the remedy says what to do."""

    level: Level
    check: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4} {self.check}: {self.found}{self.remedy and f'; {self.remedy}'}"


@dataclass(frozen=True)
class Said:
    """What came of a command; `code` is None where it was not there or did not end in time."""

    code: int | None
    out: str
    error: str  # on one line


def ask(command: Sequence[str], root: Path, limit_s: float, **env: str) -> Said:
    """Return what a command says that is run at `root`; after `limit_s` seconds it is ended."""
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except FileNotFoundError:
        return Said(None, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Said(None, "", f"no answer within {limit_s:g} s")
    return Said(done.returncode, done.stdout, one_line(done.stderr))


def one_line(text: object) -> str:
    """Return the beginning of a text that may have several lines, for a sentence."""
    return " ".join(str(text).split())[:300]


def shown_size(count: float) -> str:
    """Return bytes as people read them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
