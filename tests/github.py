"""A stand-in for GitHub: a `gh` that answers from files, and the scripts that call it."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import REPO

SHA = "a1b2c3d4" * 5
# Stands in for gh: logs each call in the folder $GITHUB, answers `api` from the files there.
GH = """\
import json, os, pathlib, sys
folder, arguments = pathlib.Path(os.environ["GITHUB"]), sys.argv[1:]
with (folder / "calls").open("a") as calls:
    print(json.dumps(arguments), file=calls)
if arguments[0] == "api":
    method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "GET"
    name = method + " " + arguments[1].partition("?")[0].removeprefix("repos/lab/malaria/")
    answer = folder / name.replace("/", "_")
    if not answer.exists():
        sys.exit("HTTP 404: " + name)
    sys.stdout.buffer.write(answer.read_bytes())
"""


class GitHub:
    """A fork's pull request 7, which run 42 has judged and left a comment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gh.py").write_text(GH)
        program = folder / "gh"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder}/gh.py" "$@"\n')
        program.chmod(0o755)
        self.says("GET pulls/7", {"state": "open", "head": {"sha": SHA}})
        artifacts = [
            {"name": "gate-comment", "id": number, "size_in_bytes": 9} for number in (2, 1)
        ]
        self.says("GET actions/runs/42/artifacts", {"artifacts": artifacts})
        self.leaves({"gate-comment.md": "**pass**, says @someone\x1b[31m\u202e\n"})
        self.says("GET issues/7/comments", b"")
        self.says("POST issues/7/comments", {})

    def says(self, call: str, answer: object) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        (self.folder / call.replace("/", "_")).write_bytes(content)

    def leaves(self, files: dict[str, str]) -> None:
        """Let the newer of the run's two artifacts hold these files."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        self.says("GET actions/artifacts/2/zip", content.getvalue())

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def after(
        self, *command: str | Path, cwd: Path = REPO, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Return a command that found this gh first."""
        given = {
            "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
            "GITHUB": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "lab/malaria",
        }
        return subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | given | env,
            capture_output=True,
            text=True,
            check=False,
        )

    def comment(self, run: str = "42", pull: str = "7", sha: str = SHA) -> str:
        """Return the script's output, or its error message if it fails."""
        result = self.after(sys.executable, ".ci/comment.py", run, pull, sha)
        return result.stdout if result.returncode == 0 else result.stderr

    def posted(self) -> str:
        """Return the text of the comment that was posted."""
        field, body = self.calls()[-1][-2:]
        assert field == "--raw-field"
        return body.removeprefix("body=")
