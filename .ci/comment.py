#!/usr/bin/env python3
"""Posts what the gate said in a CI run on its pull request: `python3 .ci/comment.py RUN`.

RUN is the run's id. It needs `gh`, logged in or with GH_TOKEN, and Python alone. A comment that is
there already is updated. What the run left was written by whoever wrote the pull request, so it is
data: nothing of it is run, unpacked or asked where it belongs. GitHub itself says which commit the
run checked, and which pull request ends there.
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
    """Post the comment of a run; return what was done."""
    if not re.fullmatch(r"\d+", run):
        sys.exit(f"comment: {run!r} is no id of a run; take the number of its address.")
    repo = os.environ.get("GITHUB_REPOSITORY") or api("repos/{owner}/{repo}")["full_name"]
    checked = api(f"repos/{repo}/actions/runs/{run}")
    number = pull_request_of(checked, repo)
    if number is None:
        return f"no open pull request ends at {checked['head_sha']}; nothing is posted"
    said = comment_of(run, repo)
    if said is None:
        return f"run {run} left no {ARTIFACT}; nothing is posted"
    sha, address = checked["head_sha"][:8], checked["html_url"]
    body = f"{MARKER}\n{defused(said)}\n\nOf {sha}, in [this run]({address}).\n"
    posted = comment_on(number, repo)
    if posted is None:
        api(f"repos/{repo}/issues/{number}/comments", "POST", body=body)
        return f"posted on #{number}"
    api(f"repos/{repo}/issues/comments/{posted}", "PATCH", body=body)
    return f"updated on #{number}"


def pull_request_of(checked: dict[str, Any], repo: str) -> int | None:
    """Return the open pull request whose last commit was checked; of a newer push there is none.

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
    """Return the text that a run left, None where it left none or one that is too large."""
    listed = api(f"repos/{repo}/actions/runs/{run}/artifacts", "GET", name=ARTIFACT)["artifacts"]
    if not listed:
        return None
    newest = max(listed, key=lambda artifact: artifact["id"])  # of a run that was started again
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
    # --raw-field takes a value as it is: no number, no @file.
    values = [part for key, value in fields.items() for part in ("--raw-field", f"{key}={value}")]
    return json.loads(gh(path, "--method", method, *values))


def gh(path: str, *options: str) -> bytes:
    """Return what `gh api` prints; ends with what it says where it fails."""
    result = subprocess.run(["gh", "api", path, *options], capture_output=True, check=False)
    if result.returncode:
        sys.exit(f"comment: gh api {path} failed: {result.stderr.decode().strip()}")
    return result.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"comment: {main(sys.argv[1])}")
