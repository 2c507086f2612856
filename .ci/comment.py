#!/usr/bin/env python3
"""Posts the gate's comment from a CI run on its pull request: `python3 .ci/comment.py RUN`.

RUN is the run's id. It needs only Python and `gh`, logged in or with GH_TOKEN. An existing comment
is updated. Whoever wrote the pull request may have written the run's files, so they are data: they
are not run, not unpacked, and do not decide where the comment goes. GitHub itself says which commit
the run checked, and which pull request ends there.
"""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from typing import Any

ARTIFACT, FILE = "gate-comment", "gate-comment.md"
MARKER = "<!-- malaria gate -->"  # the first line of the comment that is updated
LONGEST = 60_000  # GitHub takes 65,536 characters
LARGEST = 1_000_000  # bytes of the artifact


def main(run: str) -> str:
    """Post the comment of a run; return a message that says what was done."""
    if not re.fullmatch(r"\d+", run):
        sys.exit(f"comment: {run!r} is not the id of a run; take the number in its address.")
    repo = os.environ.get("GITHUB_REPOSITORY") or api("repos/{owner}/{repo}")["full_name"]
    checked = api(f"repos/{repo}/actions/runs/{run}")
    number = pull_request_of(checked, repo)
    if number is None:
        return f"no open pull request ends at {checked['head_sha']}; nothing is posted"
    text = comment_of(run, repo)
    if text is None:
        return f"run {run} left no {ARTIFACT}; nothing is posted"
    sha, address = checked["head_sha"][:8], checked["html_url"]
    body = f"{MARKER}\n{defused(text)}\n\nOf {sha}, in [this run]({address}).\n"
    posted = comment_on(number, repo)
    if posted is None:
        api(f"repos/{repo}/issues/{number}/comments", "POST", body=body)
        return f"posted on #{number}"
    api(f"repos/{repo}/issues/comments/{posted}", "PATCH", body=body)
    return f"updated on #{number}"


def pull_request_of(checked: dict[str, Any], repo: str) -> int | None:
    """Return the open pull request whose last commit was checked; None after a newer push.

    The list in the run itself is empty for forks.
    """
    if checked["event"] != "pull_request" or not checked["head_repository"]:
        return None
    head = f"{checked['head_repository']['owner']['login']}:{checked['head_branch']}"
    found = [
        pull["number"]
        for pull in api(f"repos/{repo}/pulls", "GET", state="open", head=head)
        if pull["head"]["sha"] == checked["head_sha"]
    ]
    return found[0] if len(found) == 1 else None


def comment_of(run: str, repo: str) -> str | None:
    """Return the text that a run left, None if there is none or it is too large."""
    listed = api(f"repos/{repo}/actions/runs/{run}/artifacts", "GET", name=ARTIFACT)["artifacts"]
    if not listed:
        return None
    newest = max(listed, key=lambda artifact: artifact["id"])  # of a rerun
    if newest["size_in_bytes"] > LARGEST:
        return None
    content = gh(f"repos/{repo}/actions/artifacts/{newest['id']}/zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.namelist() != [FILE]:
            return None
        with archive.open(FILE) as file:
            return file.read(4 * LONGEST).decode(errors="replace")[:LONGEST]


def defused(text: str) -> str:
    """Return the text without mentions, which would call people, and without control characters."""
    return re.sub(r"[^\n\t\x20-\U0010ffff]", "", text).replace("@", "@\N{ZERO WIDTH SPACE}")


def comment_on(number: int, repo: str) -> int | None:
    """Return the id of our own comment on a pull request."""
    ours = "github-actions[bot]" if "GITHUB_ACTIONS" in os.environ else api("user")["login"]
    picked = ".[] | [.id, .user.login, .body] | tojson"
    pages = gh(f"repos/{repo}/issues/{number}/comments?per_page=100", "--paginate", "--jq", picked)
    for line in pages.decode().splitlines():
        found, author, body = json.loads(line)
        if author == ours and body.startswith(MARKER):
            return int(found)
    return None


def api(path: str, method: str = "GET", **fields: str) -> Any:
    """Return GitHub's answer."""
    # --raw-field takes a value literally, not as a number or an @file.
    values = [part for key, value in fields.items() for part in ("--raw-field", f"{key}={value}")]
    return json.loads(gh(path, "--method", method, *values))


def gh(path: str, *options: str) -> bytes:
    """Return the output of `gh api`; exit with its error message if it fails."""
    result = subprocess.run(["gh", "api", path, *options], capture_output=True, check=False)
    if result.returncode:
        sys.exit(f"comment: gh api {path} failed: {result.stderr.decode().strip()}")
    return result.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"comment: {main(sys.argv[1])}")
