"""The gate of a pipeline's folder: the work tree's results against those of the merge base."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from malaria.evaluated import Evaluated, Files
from malaria.gate import Judgement, judge_files
from malaria.gate_comment import comment
from malaria.params.base import PARAMS, load, parse
from malaria.params.gate import GateParams
from malaria.pipeline import METRICS, PREDICTIONS
from malaria.revisions import (
    find_file,
    find_yaml,
    merge_base,
    params_diff,
    reference,
    uses_of_test_set,
)
from malaria.run_address import run_address


@dataclass(frozen=True)
class Gating:
    """What the gate says of one folder."""

    folder: str
    judgement: Judgement
    comment: str


def gate_folder(
    root: Path,
    folder: str,
    base: str,
    pictures: str | None = None,
    evaluate_base: bool = False,
) -> Gating:
    """Return what the gate says of a folder with predictions, seen from the root.

    Its work tree is compared with the commit where HEAD parted from `base` and with the tag
    gate-reference, where there is one; with `evaluate_base` also where the base was tested on
    other cells. `pictures` is for the comment. Raises MalariaError for what cannot be read or
    compared.
    """
    commit = merge_base(root, base)
    tagged = reference(root)
    judgement = judge_files(
        Files(*(_read(root / folder / path) for path in (PREDICTIONS, METRICS))),
        files_at(root, commit, folder),
        files_at(root, tagged, folder) if tagged else None,
        gate_params(root, folder, commit),
        commit,
        partial(evaluate_on_new_cells, root, folder, commit) if evaluate_base else None,
    )
    said = comment(
        judgement,
        folder,
        params_diff(root, folder, commit),
        uses_of_test_set(root, commit, folder, judgement.fingerprint),
        pictures,
        run_address(root, folder),
    )
    return Gating(folder, judgement, said)


def gate_params(root: Path, folder: str, commit: str) -> GateParams:
    """Return the base's rules, so that no pull request loosens its own gate.

    The reset of the baseline is the work tree's, because it has to be reviewed with what it lets
    in; so is all where the base has no rules.
    """
    path = root / folder / PARAMS
    ours = load(GateParams, path)
    theirs = find_yaml(root, commit, f"{folder}/{PARAMS}") or {}
    if GateParams.section not in theirs:
        return ours
    rules = parse(GateParams, theirs[GateParams.section], path)
    return rules.model_copy(update={"baseline_reset": ours.baseline_reset})


def evaluate_on_new_cells(
    root: Path, folder: str, commit: str, base: Evaluated, head: Evaluated
) -> Evaluated:
    """Return what the model of a commit says of the head's test cells; see `evaluate_base`."""
    from malaria.base_model import evaluate_base  # here, because Keras takes seconds to import

    return evaluate_base(root, folder, commit, base, head)


def files_at(root: Path, commit: str, folder: str) -> Files | None:
    """Return what a commit has of a folder's results, None without predictions."""
    predictions, metrics = (
        find_file(root, commit, f"{folder}/{path}") for path in (PREDICTIONS, METRICS)
    )
    return None if predictions is None else Files(predictions, metrics or b"")


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
