"""What a check found, and how it runs another program."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired, run
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """`fail`: something does not work; `warn`: something may not work, or wastes space."""

    level: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""
    check: str = ""  # `examine` fills it in

    def __str__(self) -> str:
        return f"{self.level:<4} {self.check}: {self.found}{self.remedy and f'; {self.remedy}'}"


def ask(command: Sequence[str], folder: Path, limit_s: int = 120) -> "CompletedProcess[str]":
    """Run a command in a folder; what it writes to stderr comes on one line.

    As in a shell, exit code 127 means that it is not installed, 124 that it took too long.
    """
    env = os.environ | {"CI": "true"}  # DVC then does not look for a newer version
    try:
        result = run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=limit_s)
    except FileNotFoundError:
        return CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    except TimeoutExpired:
        return CompletedProcess(command, 124, "", f"no answer within {limit_s} s")
    result.stderr = " ".join(result.stderr.split())
    return result


def one_line(text: object) -> str:
    """Return the beginning of a text on one line, for a sentence."""
    return " ".join(str(text).split())[:300]
