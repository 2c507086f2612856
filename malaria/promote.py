"""`malaria promote`: the candidate becomes the champion, if the gate lets it pass."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from malaria.errors import MalariaError
from malaria.evaluated import Files
from malaria.finished import Finished
from malaria.gate import Judgement, Outcome, judge_files
from malaria.gating import evaluate_on_new_cells, files_at
from malaria.params.base import PARAMS, load
from malaria.params.gate import GateParams
from malaria.pipeline import LOCK, METRICS, PREDICTIONS, in_repo
from malaria.register import MODEL_MD5, find_version, read_fresh
from malaria.registry import CANDIDATE, CHAMPION, Registry, Version, open_registry
from malaria.revisions import commit_of, commits_of, find_file, reference, run_git

# Without a champion there may be no yardstick, yet or by a reviewed reset: the floors have held.
FIRST = {Outcome.PASS, Outcome.FIRST_RUN, Outcome.RESET}
LONGEST_REASON = 5000  # characters
NOBODY = "none"
RECORD = re.compile(r"promotion\.(.+)\.former")  # a promotion's tag that tells the champion before


@dataclass(frozen=True)
class Promotion:
    """What came of it; `champion` is the version that is champion now, '' where there is none."""

    name: str
    candidate: str
    champion: str
    former: str  # the champion before, '' where there was none
    against: str  # what the candidate was judged against
    outcome: str
    reasons: tuple[str, ...]

    @property
    def is_champion(self) -> bool:
        """Whether the candidate is the champion now."""
        return self.candidate == self.champion


@dataclass(frozen=True)
class Yardstick:
    """The results that the candidate is held against."""

    what: str
    files: Files | None
    commit: str  # '' where none is known


def promote(
    root: Path, folder: str, reason: str, by: str | None = None, evaluate_base: bool = False
) -> Promotion:
    """Judge the candidate of a folder, seen from the root; let `champion` name it if it passes.

    A champion gives way to a PASS alone. Where there is none, the candidate is judged against the
    results that were committed before its own; if there are none either, or a reviewed
    gate.baseline_reset names them, the floors are enough. The rules are those committed in
    params.yaml. With `evaluate_base` a yardstick that was tested on other cells is evaluated on
    the new ones. `by` is Git's user where it is None. Raises MalariaError where the candidate is
    not the evaluated, committed model of the folder, for what the gate refuses, and where somebody
    else promotes at the same time.
    """
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise MalariaError(
            f"--reason has {len(reason.strip())} characters; say why in 1 to {LONGEST_REASON}."
        )
    who = by or _git_user(root)
    finished = read_fresh(root, folder)
    commit = _committed(root, folder)
    with open_registry(root, folder) as registry:
        candidate = _candidate(registry, finished, folder)
        champion = registry.at(CHAMPION)
        former = champion.number if champion else ""
        if former == candidate.number:
            said = ("it is the champion already",)
            return Promotion(registry.name, former, former, former, "", "unchanged", said)
        began = _now()
        yardstick = _yardstick(root, folder, registry, champion)
        judgement = _judge(root, folder, yardstick, evaluate_base)
        is_accepted = judgement.outcome in ({Outcome.PASS} if champion else FIRST)
        if is_accepted:
            facts = {
                "by": who,
                "reason": reason.strip(),
                "verdict": judgement.outcome.value,
                "against": yardstick.what,
                "commit": commit,
                "former": former or NOBODY,
            }
            _crown(registry, candidate, facts, began)
        return Promotion(
            registry.name,
            candidate.number,
            candidate.number if is_accepted else former,
            former,
            yardstick.what,
            judgement.outcome.value,
            tuple(_reasons(judgement, yardstick, is_accepted)),
        )


def _candidate(registry: Registry, finished: Finished, folder: str) -> Version:
    """Return the candidate, which has to be the folder's evaluated model."""
    candidate = registry.at(CANDIDATE)
    call = f"`uv run malaria register --folder {folder}`"
    if candidate is None:
        raise MalariaError(f"{registry.name} has no candidate; make one with {call}.")
    evaluated = find_version(registry, finished)
    if evaluated is None or evaluated.number != candidate.number:
        raise MalariaError(
            f"the candidate, version {candidate.number} of {registry.name}, has a model of the MD5 "
            f"{candidate.tags.get(MODEL_MD5, 'unknown')}, but {folder}/{LOCK} tells of "
            f"{finished.model_md5} at the threshold {finished.threshold:g}; register that with "
            f"{call}, or check out the commit of the candidate."
        )
    return candidate


def _committed(root: Path, folder: str) -> str:
    """Return HEAD, which has to have the folder's results as they are in the work tree."""
    commit = commit_of(root, "HEAD")
    for path in (LOCK, PREDICTIONS, METRICS, str(PARAMS)):
        shown = in_repo(path, root / folder, root)
        if find_file(root, commit, shown) != (root / folder / path).read_bytes():
            raise MalariaError(
                f"{shown} is not as HEAD has it; commit it first, so that the champion is found "
                "again in Git."
            )
    return commit


def _yardstick(root: Path, folder: str, registry: Registry, champion: Version | None) -> Yardstick:
    if champion is not None:
        what = f"the champion, version {champion.number}"
        return Yardstick(what, registry.files(champion), _promoted_at(champion))
    path = f"{folder}/{PREDICTIONS}"
    here = (root / path).read_bytes()
    for commit in commits_of(root, "HEAD", path):
        before = files_at(root, commit.id, folder)
        if before is not None and before.predictions != here:
            return Yardstick(f"the results of {commit.id[:8]}", before, commit.id)
    return Yardstick("nothing, as the first champion", None, "")


def _judge(root: Path, folder: str, yardstick: Yardstick, evaluate_base: bool) -> Judgement:
    tagged = reference(root)
    if evaluate_base and yardstick.files is not None and not yardstick.commit:
        raise MalariaError(
            f"{yardstick.what} has no tag that tells its commit, so its model is not found for "
            "--evaluate-base; leave that out."
        )
    rules = load(GateParams, root / folder / PARAMS)
    if evaluate_base:  # a yardstick after all
        rules = rules.model_copy(update={"baseline_reset": None})
    return judge_files(
        Files(*((root / folder / path).read_bytes() for path in (PREDICTIONS, METRICS))),
        yardstick.files,
        files_at(root, tagged, folder) if tagged else None,
        rules,
        yardstick.commit,
        partial(evaluate_on_new_cells, root, folder, yardstick.commit) if evaluate_base else None,
    )


def _reasons(judgement: Judgement, yardstick: Yardstick, is_accepted: bool) -> Iterator[str]:
    yield from judgement.reasons
    if judgement.outcome == Outcome.NOT_COMPARABLE and yardstick.commit:
        yield (
            f"here the base is {yardstick.what}, of the commit {yardstick.commit}; --evaluate-base "
            "of this command evaluates its model on the new test cells"
        )
    if judgement.outcome == Outcome.RESET and not is_accepted:
        yield (
            "a reset is no PASS; --evaluate-base evaluates the champion's model on the new test "
            "cells, or take the alias champion from it in MLflow, and the reset holds for the next"
        )


def _crown(registry: Registry, candidate: Version, facts: dict[str, str], began: str) -> None:
    """Make the candidate the champion, with a record of the promotion among its tags.

    The record comes first, so no champion is without one, and whoever promotes at the same time
    sees it: no two models follow the same champion, of which nobody compared one with the other.
    """
    record = f"promotion.{_now()}"
    tags = {f"{record}.{key}": value for key, value in facts.items()}
    registry.set_tags(candidate, tags)
    others = {key for version in registry.versions() for key in _records(version) if key != record}
    champion = registry.at(CHAMPION)
    changed = (champion.number if champion else NOBODY) != facts["former"]
    if changed or any(other > f"promotion.{began}" for other in others):
        registry.delete_tags(candidate, tags)
        raise MalariaError(
            f"somebody else promotes a model of {registry.name} at the same time, and nobody "
            "compared the two; look who is champion, and give the same command again."
        )
    registry.set_alias(CHAMPION, candidate)


def _records(version: Version) -> list[str]:
    """Return what the tags of each promotion of a version begin with, the oldest first."""
    found = sorted(filter(None, map(RECORD.fullmatch, version.tags)), key=lambda match: match[1])
    return [f"promotion.{match[1]}" for match in found]


def _promoted_at(champion: Version) -> str:
    """Return the commit of the last promotion of a version, '' where no tag tells it."""
    keys = [f"{record}.commit" for record in _records(champion)[-1:]]
    return next((champion.tags[key] for key in keys), champion.tags.get("malaria.commit", ""))


def _now() -> str:
    """Return the time in UTC, of a width that sorts, in characters that MLflow's tags may have."""
    return datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _git_user(root: Path) -> str:
    try:
        name, email = (
            run_git(root, "config", f"user.{part}").decode().strip() for part in ("name", "email")
        )
    except MalariaError:
        raise MalariaError(
            "Git knows no user.name and user.email, and a champion keeps who promoted it; set "
            "them with `git config`, or give --by."
        ) from None
    return f"{name} <{email}>"
