"""`malaria promote`: the candidate becomes the champion if the gate says PASS."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from malaria.core.params import load
from malaria.errors import MalariaError
from malaria.gate.base_model import evaluate_base_model
from malaria.gate.committed import results_at
from malaria.gate.judge import judge
from malaria.gate.judgement import Judgement, Outcome
from malaria.gate.params import GateParams
from malaria.gate.predictions import Files
from malaria.paths import LOCK, METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.git import commit_of, find_file, reference, run_git
from malaria.pipeline.stages import place
from malaria.registry.evaluated_model import EvaluatedModel
from malaria.registry.register import MODEL_MD5, find_version, read_fresh
from malaria.registry.versions import CANDIDATE, CHAMPION, Registry, Version, open_registry

LONGEST_REASON = 5000  # characters
COMMIT = "promotion.commit"
OTHER_CELLS = (
    "the champion was tested on other cells or labels; --evaluate-base tests its model on the new "
    "cells, or remove the alias champion from it in MLflow: then the floors are enough"
)


@dataclass(frozen=True)
class Promotion:
    """The result; `champion` is the version that is champion now, '' if there is none."""

    name: str
    candidate: str
    champion: str
    former: str  # the champion before, '' if there was none
    outcome: str
    reasons: tuple[str, ...]

    @property
    def is_champion(self) -> bool:
        """Whether the candidate is the champion now."""
        return self.candidate == self.champion


def promote(
    root: Path, folder: str, reason: str, by: str | None = None, evaluate_base: bool = False
) -> Promotion:
    """Judge the candidate of a folder against the champion; make it the champion if it passes.

    The first champion has nothing to be compared with: the floors of the gate are enough. The
    rules are those committed in params.yaml, without a reset of the baseline. With `evaluate_base`
    the model of a champion that was tested on other cells is evaluated on the new ones. `by` is
    Git's user if it is None. Raises MalariaError if the candidate is not the evaluated, committed
    model of the folder, and for what the gate refuses.
    """
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise MalariaError(
            f"--reason has {len(reason.strip())} characters; say why in 1 to {LONGEST_REASON}."
        )
    who = by or _git_user(root)
    evaluated = read_fresh(root, folder)
    commit = _committed(root, folder)
    with open_registry(root, folder) as registry:
        candidate = _candidate(registry, evaluated, folder)
        champion = registry.at(CHAMPION)
        former = champion.number if champion else ""
        if former == candidate.number:
            reasons: tuple[str, ...] = ("it is the champion already",)
            return Promotion(registry.name, former, former, former, "unchanged", reasons)
        judgement = _judge(root, folder, registry, champion, evaluate_base)
        outcome, reasons = judgement.outcome, tuple(judgement.reasons)
        if outcome == Outcome.NOT_COMPARABLE:
            reasons = (OTHER_CELLS,)
        is_accepted = outcome == (Outcome.PASS if champion else Outcome.FIRST_RUN)
        if is_accepted:
            tags = {
                "promotion.time": datetime.now(UTC).isoformat(timespec="seconds"),
                "promotion.by": who,
                "promotion.reason": reason.strip(),
                "promotion.verdict": outcome.value,
                "promotion.former": former or "none",
                COMMIT: commit,
            }
            registry.set_alias(CHAMPION, candidate, tags)
        now = candidate.number if is_accepted else former
        return Promotion(registry.name, candidate.number, now, former, outcome.value, reasons)


def _candidate(registry: Registry, evaluated: EvaluatedModel, folder: str) -> Version:
    """Return the candidate, which must be the folder's evaluated model."""
    candidate = registry.at(CANDIDATE)
    call = f"`uv run malaria register --folder {folder}`"
    if candidate is None:
        raise MalariaError(f"{registry.name} has no candidate; make one with {call}.")
    version = find_version(registry, evaluated)
    if version is None or version.number != candidate.number:
        raise MalariaError(
            f"the candidate, version {candidate.number} of {registry.name}, has a model with the "
            f"MD5 {candidate.tags.get(MODEL_MD5, 'unknown')}, but {place(folder, LOCK)} records "
            f"{evaluated.model_md5} at the threshold {evaluated.threshold:g}; register that with "
            f"{call}, or check out the commit of the candidate."
        )
    return candidate


def _committed(root: Path, folder: str) -> str:
    """Return HEAD, which must have the folder's results as they are in the work tree."""
    commit = commit_of(root, "HEAD")
    for path in (LOCK, PREDICTIONS, METRICS, PARAMS):
        shown = place(folder, path)
        if find_file(root, commit, shown) != (root / shown).read_bytes():
            raise MalariaError(
                f"{shown} is not as in HEAD; commit it first, so that the champion can be found "
                "in Git."
            )
    return commit


def _judge(
    root: Path, folder: str, registry: Registry, champion: Version | None, evaluate_base: bool
) -> Judgement:
    rules = load(GateParams, root / folder / PARAMS).without_decisions()
    head = results_at(root, None, folder) or Files(b"", b"")
    tag = reference(root)
    if champion is None:
        return judge(head, None, None, rules, "")
    promoted_at = champion.tags.get(COMMIT, "")
    if evaluate_base and not promoted_at:
        raise MalariaError(
            f"version {champion.number} of {registry.name} has no tag {COMMIT}, so its model is "
            "not found for --evaluate-base; leave that out."
        )
    return judge(
        head,
        registry.files(champion),
        None if tag is None else results_at(root, tag, folder),
        rules,
        promoted_at,
        partial(evaluate_base_model, root, folder, promoted_at, None) if evaluate_base else None,
    )


def _git_user(root: Path) -> str:
    try:
        name, email = (
            run_git(root, "config", f"user.{part}").decode().strip() for part in ("name", "email")
        )
    except MalariaError:
        raise MalariaError(
            "Git has no user.name and user.email, and a champion keeps who promoted it; set "
            "them with `git config`, or give --by."
        ) from None
    return f"{name} <{email}>"
