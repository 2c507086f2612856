"""The gate of pipelines: a revision's committed results against those of the merge base."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from malaria.core.params import NONE, find_section
from malaria.errors import MalariaError
from malaria.gate.accepted import Accepted
from malaria.gate.base_model import evaluate_base_model
from malaria.gate.comment import comment, overview
from malaria.gate.committed import params_at, results_at
from malaria.gate.judge import judge
from malaria.gate.judgement import FAILED, UNDECIDED, Judgement, Outcome
from malaria.gate.judging import changed_judges, changed_kept
from malaria.gate.params import DECISIONS, GateParams
from malaria.gate.parting import parting
from malaria.gate.predictions import SHORT, Files, printable, shown, uses_of_test_set
from malaria.paths import PARAMS, PIPELINES, PREDICTIONS
from malaria.pipeline.git import (
    ParamChange,
    commit_of,
    find_blob,
    params_diff,
    predicted_folders,
    reference,
)
from malaria.pipeline.stages import place

LONGEST = 600  # characters of a value, or of what is wrong with one
MOST_RULES = 100  # that are named in the JSON


@dataclass(frozen=True)
class FolderVerdict:
    """The gate's answer on one folder."""

    folder: str
    judgement: Judgement
    comment: str
    changed_rules: list[ParamChange]
    is_unchanged: bool  # its results are those of the base

    def content(self) -> dict[str, Any]:
        """Return all numbers, and which rules of the gate the pull request changes."""
        rules = {
            shown(change.key): [value and value[:LONGEST] for value in (change.old, change.new)]
            for change in self.changed_rules[:MOST_RULES]
        }
        return json.loads(self.judgement.to_json()) | {"changed_rules": rules}


@dataclass(frozen=True)
class GateVerdict:
    """The gate's answer on all folders."""

    folders: list[FolderVerdict]
    changed_judges: list[str]  # files that judge, and that the pull request changes
    changed_kept: list[str]  # kept results, which nothing judges, that it changes or removes

    @property
    def comment(self) -> str:
        """The whole comment: what a reviewer must see first, then each folder."""
        return overview(self.folders, self.changed_judges, self.changed_kept)

    @property
    def exit_code(self) -> int:
        """0: may be merged; 1: not; 3: a person must decide."""
        codes = {each.judgement.exit_code for each in self.folders}
        return next((code for code in (FAILED, UNDECIDED) if code in codes), 0)


def gate_all(
    root: Path,
    base: str,
    head: str | None = None,
    pictures: str | None = None,
    evaluate_base: bool = False,
    mlflow_url: Callable[[str], str | None] = lambda folder: None,
) -> GateVerdict:
    """Return the gate's answer on all pipelines of the repository.

    Arguments are those of `gate_folder`; `mlflow_url` gives that of a folder.
    """
    parted = parting(root, base, head)
    return GateVerdict(
        [
            gate_folder(root, folder, base, head, pictures, evaluate_base, mlflow_url(folder))
            for folder in PIPELINES
        ],
        changed_judges(root, parted, head),
        changed_kept(root, parted, head),
    )


def gate_folder(
    root: Path,
    folder: str,
    base: str,
    head: str | None = None,
    pictures: str | None = None,
    evaluate_base: bool = False,
    mlflow_url: str | None = None,
) -> FolderVerdict:
    """Return the gate's answer on a pipeline's folder, relative to the repository.

    The results at the revision `head` (None: in the work tree, if Git has them) are compared with
    the last ones before the commit where it parted from `base`, and with the reference: the tag
    gate-reference, or without one on the same test cells what `base` had accepted before. With
    `evaluate_base` also if the base was tested on other cells. `pictures` and `mlflow_url` are for
    the comment. Raises MalariaError for what cannot be read or compared.
    """
    head = None if head is None else commit_of(root, head)
    parted = parting(root, base, head)
    history = Accepted(root, folder, parted)
    commit, source = parted, history.last_with_results()
    if source is None:  # it began before the first results, but these are what it would replace
        newest = commit_of(root, base)
        history = Accepted(root, folder, newest)
        source = history.last_with_results()
        commit = parted if source is None else newest
    ours = params_at(root, head, folder)
    changed = params_diff(root, folder, commit, head)
    rules = [one for one in changed if f"{one.key}.".startswith(f"{GateParams.section}.")]
    is_there = head is not None or folder in predicted_folders(root)
    files = results_at(root, head, folder) if is_there else None
    if files is None:
        is_gone = find_blob(root, parted, place(folder, PREDICTIONS)) is not None
        judgement = _without_results(root, folder, ours, parted if is_gone else None)
        return FolderVerdict(folder, judgement, comment(judgement, folder), rules, False)
    params = gate_params(root, folder, ours, commit)
    base_files = _earlier(root, source, folder)
    is_unchanged = files == base_files
    evaluate = partial(evaluate_base_model, root, folder, source or commit, head)
    judgement = judge(
        files,
        base_files,
        None if is_unchanged else _earlier(root, reference(root), folder),
        params,
        commit,
        evaluate if evaluate_base else None,
        None if is_unchanged else partial(history.like, rules=params),
    )
    times_used = uses_of_test_set(root, commit, folder, judgement.fingerprint)
    others = [one for one in changed if one not in rules]
    text = comment(judgement, folder, others, times_used, pictures, mlflow_url)
    return FolderVerdict(folder, judgement, text, rules, is_unchanged)


def gate_params(root: Path, folder: str, ours: dict[str, Any], commit: str) -> GateParams:
    """Return the base's rules, so that no pull request loosens its own gate.

    `ours` is the content of the head's params.yaml. Its decisions count, because they are
    reviewed with what they let in; so do rules that the base does not have yet.
    """
    path = Path(place(folder, PARAMS))
    mine = _rules(ours.get(GateParams.section), path)
    base = params_at(root, commit, folder).get(GateParams.section, {})
    theirs = _with_words(base)
    if isinstance(theirs, dict):
        theirs = ours[GateParams.section] | theirs
    rules = _rules(theirs, Path(f"{path} at {commit[:SHORT]}"))
    return rules.model_copy(update={word: getattr(mine, word) for word in DECISIONS})


def _rules(values: Any, path: Path) -> GateParams:
    """Return a section of rules; raises MalariaError that is not too long, whatever it quotes."""
    try:
        return find_section(
            GateParams, {} if values is None else {GateParams.section: values}, path
        )
    except MalariaError as error:
        raise MalariaError(printable(str(error))[:LONGEST]) from None


def _earlier(root: Path, commit: str | None, folder: str) -> Files | None:
    """Return a folder's results at a commit, if there is one; empty where they are no files."""
    try:
        return None if commit is None else results_at(root, commit, folder)
    except MalariaError:
        return Files(b"", b"")


def _without_results(root: Path, folder: str, ours: dict[str, Any], base: str | None) -> Judgement:
    """Return the judgement on a head without results; `base` is a base that has some."""
    path = place(folder, PARAMS)
    if GateParams.section in ours:
        _rules(ours[GateParams.section], Path(path))  # of later results
    if base is None:
        return Judgement(Outcome.NO_RESULTS, ["there are no committed results yet"])
    if GateParams.section in ours:
        params = gate_params(root, folder, ours, base)
        if params.retired is not None and params.retired.commit == base:
            return Judgement(Outcome.RETIRED, [printable(params.retired.reason)], params)
    return Judgement(
        Outcome.GONE,
        [
            f"{place(folder, PREDICTIONS)} of the base ({base[:SHORT]}) is gone; bring the results "
            f"back, or set gate.retired in {path} to the base's commit and the reason"
        ],
    )


def _with_words(values: Any) -> Any:
    """Return rules with `none` for null, as older revisions have it."""
    if isinstance(values, dict):
        return {key: _with_words(value) for key, value in values.items()}
    return NONE if values is None else values
