"""What a branch has accepted in a folder: its results over the first-parent history.

So a merged pull request counts as one commit, whatever its own commits did. A decision in
params.yaml counts at the commit that brought it in, if it names an earlier commit with the results
that stood there until then, as it did when its pull request was judged.
"""

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError
from malaria.gate.committed import params_at, results_at
from malaria.gate.judge import losses
from malaria.gate.params import GateParams
from malaria.gate.predictions import Evaluated, read_evaluated
from malaria.gate.yardstick import is_same_yardstick
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.git import find_blob, run_git
from malaria.pipeline.stages import place

FIRST_PARENTS = ("--first-parent", "--end-of-options")


class Accepted:
    """The first-parent history of a commit, as far as it changed a folder's results or params."""

    def __init__(self, root: Path, folder: str, commit: str) -> None:
        """`folder` is a pipeline's, relative to the repository `root`."""
        self._root, self._folder = root, folder
        files = [posixpath.normpath(place(folder, path)) for path in (PREDICTIONS, METRICS, PARAMS)]
        line = run_git(root, "rev-list", *FIRST_PARENTS, commit).decode().split()
        self._age = {id_: age for age, id_ in enumerate(line)}
        changes = run_git(root, "log", "--format=%H", *FIRST_PARENTS, commit, "--", *files)
        self._changes = changes.decode().split()  # the newest first
        self._blobs = cache(self._blobs_at)

    def last_with_results(self) -> str | None:
        """Return the last commit that had results; None if there is none, or they were retired."""
        for number, commit in enumerate(self._changes):
            if self._blobs(commit)[0] is not None:
                return commit
            if self._decided(number, "retired"):
                return None
        return None

    def like(self, head: Evaluated, rules: GateParams) -> Iterator[Evaluated]:
        """Give the different results on the head's test cells, or nearly these, the newest first.

        They end where a decision lets them start anew: where the yardstick was reset or results
        were retired, and where a loss was accepted that the gate would not have let pass. One
        that is void, or was not needed, ends nothing.
        """
        seen = set()
        for number, commit in enumerate(self._changes):
            blobs = self._blobs(commit)
            if blobs not in seen:
                seen.add(blobs)
                found = self._evaluated(number)
                if found is not None and is_same_yardstick(found, head):
                    yield found
            if self._starts_anew(number, rules):
                return

    def _starts_anew(self, number: int, rules: GateParams) -> bool:
        if self._decided(number, "retired"):
            return self._blobs(self._changes[number])[0] is None
        is_reset, is_accepted = (
            self._decided(number, word) for word in ("baseline_reset", "accept_loss")
        )
        if not is_reset and not is_accepted:
            return False
        found = self._evaluated(number)
        older = map(self._evaluated, range(number + 1, len(self._changes)))
        before = next(filter(None, older), None)
        if found is None or before is None:
            return False
        if not is_same_yardstick(before, found):
            return is_reset
        return is_accepted and bool(losses(before, found, rules))

    def _decided(self, number: int, word: str) -> bool:
        """Return whether the commit brought in a decision that holds."""
        if number + 1 >= len(self._changes):
            return False
        commit, older = self._changes[number : number + 2]
        entry = self._entry(commit, word)
        if not isinstance(entry, dict) or entry == self._entry(older, word):
            return False
        named = entry.get("commit")
        is_earlier = self._age.get(str(named), -1) > self._age[commit]
        return is_earlier and self._blobs(str(named)) == self._blobs(older)

    def _entry(self, commit: str, word: str) -> Any:
        with suppress(MalariaError):
            section = params_at(self._root, commit, self._folder).get(GateParams.section)
            return section.get(word) if isinstance(section, dict) else None
        return None

    def _evaluated(self, number: int) -> Evaluated | None:
        """Return the results after a change, None if there are none that can be read."""
        with suppress(MalariaError):
            files = results_at(self._root, self._changes[number], self._folder)
            return None if files is None else read_evaluated(files, "an earlier commit")
        return None

    def _blobs_at(self, commit: str) -> tuple[str | None, str | None]:
        predictions, metrics = (
            find_blob(self._root, commit, place(self._folder, path))
            for path in (PREDICTIONS, METRICS)
        )
        return predictions, metrics
