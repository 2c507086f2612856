"""The gate of a pipeline's folder: the work tree's results against those of the merge base."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from malaria.core.params import NONE, load, parse
from malaria.gate.base_model import evaluate_base_model
from malaria.gate.comment import comment
from malaria.gate.judge import judge
from malaria.gate.judgement import Judgement
from malaria.gate.params import GateParams
from malaria.gate.predictions import Files, uses_of_test_set
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.git import find_file, find_yaml, merge_base, params_diff, reference
from malaria.pipeline.stages import place


@dataclass(frozen=True)
class FolderVerdict:
    """The gate's answer on one folder."""

    folder: str
    judgement: Judgement
    comment: str


def gate_folder(
    root: Path,
    folder: str,
    base: str,
    pictures: str | None = None,
    evaluate_base: bool = False,
    mlflow_url: str | None = None,
) -> FolderVerdict:
    """Return the gate's answer on a folder with predictions, relative to the repository.

    Its work tree is compared with the commit where HEAD parted from `base` and with the tag
    gate-reference, if there is one; with `evaluate_base` also if the base was tested on other
    cells. `pictures` and `mlflow_url` are for the comment. Raises MalariaError for what cannot be
    read or compared.
    """
    commit = merge_base(root, base)
    judgement = judge(
        files_in(root / folder),
        files_at(root, commit, folder),
        files_at(root, reference(root), folder),
        gate_params(root, folder, commit),
        commit,
        partial(evaluate_base_model, root, folder, commit) if evaluate_base else None,
    )
    changed = params_diff(root, folder, commit)
    times_used = uses_of_test_set(root, commit, folder, judgement.fingerprint)
    text = comment(judgement, folder, changed, times_used, pictures, mlflow_url)
    return FolderVerdict(folder, judgement, text)


def gate_params(root: Path, folder: str, commit: str) -> GateParams:
    """Return the base's rules, so that no pull request loosens its own gate.

    The reset of the baseline is the work tree's, because it is reviewed with what it lets in; so
    are all rules if the base has none.
    """
    path = root / folder / PARAMS
    ours = load(GateParams, path)
    theirs = find_yaml(root, commit, place(folder, PARAMS)) or {}
    if GateParams.section not in theirs:
        return ours
    rules = parse(GateParams, _with_words(theirs[GateParams.section]), path)
    return rules.model_copy(update={"baseline_reset": ours.baseline_reset})


def files_in(folder: Path) -> Files:
    """Return the results in a folder of the work tree; a missing file is empty."""
    paths = (folder / PREDICTIONS, folder / METRICS)
    return Files(*(path.read_bytes() if path.is_file() else b"" for path in paths))


def files_at(root: Path, commit: str | None, folder: str) -> Files | None:
    """Return a folder's results at a commit, None without commit or predictions."""
    if commit is None:
        return None
    paths = (place(folder, PREDICTIONS), place(folder, METRICS))
    predictions, metrics = (find_file(root, commit, path) for path in paths)
    return None if predictions is None else Files(predictions, metrics or b"")


def _with_words(values: Any) -> Any:
    """Return rules with `none` for null, as older revisions have it."""
    if isinstance(values, dict):
        return {key: _with_words(value) for key, value in values.items()}
    return NONE if values is None else values
