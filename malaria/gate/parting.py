"""Where a pull request parted from its base, if there is one answer."""

from pathlib import Path

from malaria.errors import MalariaError
from malaria.gate.predictions import SHORT
from malaria.pipeline.git import commit_of, merge_base, run_git


def parting(root: Path, base: str, head: str | None) -> str:
    """Return the commit from which `head` (None: HEAD) parted from `base`.

    Raises MalariaError if there is none, or if there are several: after merges in both directions
    each of them is a base, and Git would name any. Also for a clone that replaces objects, in which
    an id may have another content than in the repository.
    """
    head = head or "HEAD"
    found = merge_base(root, base, head)
    ends = commit_of(root, base), commit_of(root, head)
    several = run_git(root, "merge-base", "--all", *ends).decode().split()
    if len(several) > 1:
        raise MalariaError(
            f"{head} and {base!r} merged each other and parted at {len(several)} commits "
            f"({', '.join(each[:SHORT] for each in several)}), so the base is ambiguous; merge "
            f"{base!r} into {head}."
        )
    if run_git(root, "for-each-ref", "--count=1", "refs/replace"):
        raise MalariaError(
            "this clone replaces objects, so commits may not be what they are elsewhere; list "
            "the replacements with `git replace` and delete them with `git replace -d`."
        )
    return found
