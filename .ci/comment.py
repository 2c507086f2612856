#!/usr/bin/env python3
"""Posts the gate's comment on a pull request: `python3 .ci/comment.py RUN PULL SHA`.

RUN is the id of the run of gate.yml that judged the commit SHA of the pull request number PULL. It
needs only Python and `gh`, logged in or with GH_TOKEN. An existing comment is updated, also by the
news that there is no verdict, so that none of an older commit stays. The base's code has written
the text; all the same it is text here, of limited length.
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
PAGES = "gate-pages"  # the artifact with `malaria compare`'s pages, if predictions have changed
MARKER = "<!-- malaria gate -->"  # the first line of the comment that is updated
LONGEST = 60_000  # bytes; GitHub takes 65,536 characters
LARGEST = 1_000_000  # bytes of the artifact, and of the file in it
OPEN, CLOSED = "<details>", "</details>"
TOO_LONG = "The rest is too long for a comment; the run has it."


class NoTextError(Exception):
    """Why a run left no text that can be posted."""


def main(run: str, pull: str, sha: str) -> str:
    """Post the comment of a run; return a message that says what was done."""
    for value, name in ((run, "run"), (pull, "pull request")):
        if not re.fullmatch(r"[0-9]+", value):
            sys.exit(f"comment: {value!r} is not the number of a {name}; take it from its address.")
    repo = os.environ.get("GITHUB_REPOSITORY") or api("repos/{owner}/{repo}")["full_name"]
    found = api(f"repos/{repo}/pulls/{pull}")
    if found["state"] != "open" or found["head"]["sha"] != sha:
        return f"#{pull} is closed, or no longer ends at {sha}; nothing is posted"
    newest = artifacts_of(run, repo)
    try:
        text = fitted(defused(text_of(newest.get(ARTIFACT), repo)))
    except NoTextError as error:
        text = f"## NOT JUDGED\n\nThe gate left no verdict on this commit: {error}.\n"
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    address = f"{server}/{repo}/actions/runs/{run}"
    if PAGES in newest:
        pages = f"{address}/artifacts/{newest[PAGES]['id']}"
        text += f"\n[Pages with all that differs]({pages}), cell by cell, to download.\n"
    body = f"{MARKER}\n{text}\n\nOf {sha[:8]}, in [this run]({address}).\n"
    posted = comment_on(pull, repo)
    if posted is None:
        api(f"repos/{repo}/issues/{pull}/comments", "POST", body=body)
        return f"posted on #{pull}"
    api(f"repos/{repo}/issues/comments/{posted}", "PATCH", body=body)
    return f"updated on #{pull}"


def artifacts_of(run: str, repo: str) -> dict[str, Any]:
    """Return what GitHub says of a run's artifacts by name; of a rerun's, the newest."""
    listed = api(f"repos/{repo}/actions/runs/{run}/artifacts", "GET", per_page="100")["artifacts"]
    return {one["name"]: one for one in sorted(listed, key=lambda artifact: artifact["id"])}


def text_of(newest: Any, repo: str) -> str:
    """Return the text that a run left in an artifact; raises NoTextError."""
    if newest is None:
        raise NoTextError(f"its run has no {ARTIFACT}")
    if newest["size_in_bytes"] > LARGEST:
        raise NoTextError(f"its {ARTIFACT} has {newest['size_in_bytes']:,} bytes")
    content = gh(f"repos/{repo}/actions/artifacts/{newest['id']}/zip")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.namelist() != [FILE]:
                raise NoTextError(f"its {ARTIFACT} has other files than {FILE}")
            with archive.open(FILE) as file:
                found = file.read(LARGEST + 1)  # whatever size the zip says it has
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError):
        raise NoTextError(f"its {ARTIFACT} is not a zip that can be read") from None
    if len(found) > LARGEST:
        raise NoTextError(f"its {FILE} has more than {LARGEST:,} bytes")
    if not found.strip():
        raise NoTextError(f"its {FILE} is empty")
    return found.decode(errors="replace")


def defused(text: str) -> str:
    """Return the text without mentions, which would call people, and without invisible marks."""
    kept = (char for char in text if char.isprintable() or char == "\n")
    return "".join(kept).replace("@", "@\N{ZERO WIDTH SPACE}")


def fitted(text: str) -> str:
    """Return the first lines of a text that is too long, with what they opened closed."""
    if len(text.encode()) <= LONGEST:
        return text
    kept, size = [], 0
    for line in text.splitlines(keepends=True):  # a whole line ends no tag, entity or cell early
        size += len(line.encode())
        if size > LONGEST:
            break
        kept.append(line)
    found = "".join(kept)
    closing = f"\n{CLOSED}\n" * (found.count(OPEN) - found.count(CLOSED))
    return f"{found}{closing}\n{TOO_LONG}\n"


def comment_on(number: str, repo: str) -> int | None:
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
        sys.exit(f"comment: gh api {path} failed: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(f"comment: {main(*sys.argv[1:])}")
