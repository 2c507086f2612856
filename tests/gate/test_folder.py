"""The gate of folders: whose rules and results count, and what is named first."""

import json
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.gate.folder import FolderVerdict, GateVerdict, gate_all, gate_folder
from malaria.gate.judgement import Judgement, Outcome
from malaria.gate.params import CAN_BE_GATED
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from tests.gate.branch import Branch
from tests.gate.test_judge import REASON, RULES, cells
from tests.git_repo import git

LOOSE = {"metrics": {"sensitivity": {"margin": 0.9, "floor": "none"}}}
OLD_RULES = {  # before params.yaml had words for null, and what came later
    "metrics": {metric: {"margin": 0.05, "floor": None} for metric in CAN_BE_GATED},
    "level": 0.95,
    "replicates": 1000,
    "seed": 1,
    "inconclusive": "neutral",
    "baseline_reset": None,
}


def judged(branch: Branch, head: str | None = None) -> Judgement:
    return gate_folder(branch.root, "pilot", "main", head).judgement


def overall(branch: Branch, head: str | None = None) -> GateVerdict:
    return gate_all(branch.root, "main", head)


def pilot(found: GateVerdict) -> FolderVerdict:
    return next(each for each in found.folders if each.folder == "pilot")


def rewrite(branch: Branch, content: dict[str, Any]) -> None:
    """Replace params.yaml of the pilot by JSON, which is YAML, too."""
    (branch.root / "pilot" / PARAMS).write_text(json.dumps(content))


# Whose rules count


@pytest.mark.parametrize("rules", [RULES, OLD_RULES])
def test_the_rules_of_the_base_hold(branch: Branch, rules: dict[str, Any]) -> None:
    branch.write(cells())
    rewrite(branch, {"gate": rules})
    git(branch.root, "add", "-A")
    git(branch.root, "commit", "-q", "-m", "base")
    branch.write(cells(loss=1.5), **LOOSE)
    found = pilot(overall(branch))
    assert found.judgement.outcome == Outcome.FAIL
    assert found.judgement.params is not None
    rule = found.judgement.params.metrics["sensitivity"]
    assert (rule.margin, rule.floor) == (0.05, None)
    assert found.judgement.params.patients.cells == 10
    assert "has decided 1 time before" in found.comment
    branch.write(cells(), **LOOSE)
    assert judged(branch).outcome == Outcome.PASS


def test_changed_rules_are_named_first_even_where_no_results_changed(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(cells(loss=0.1))
    assert "changes rules" not in overall(branch).comment
    looser = RULES["metrics"] | {"sensitivity": {"margin": 0.5, "floor": "none"}}
    branch.write(cells(loss=0.1), metrics=looser, retired=branch.decided())
    (branch.root / "demo").mkdir()
    (branch.root / "demo" / PARAMS).write_text(json.dumps({"gate": RULES}))  # never run
    found = overall(branch)
    assert pilot(found).is_unchanged
    lines = found.comment.splitlines()
    assert lines[0] == "## This pull request changes rules of the gate"
    rows = [line for line in lines if line.startswith("| <code>")]
    assert rows[-1].startswith("| <code>demo</code> | <code>gate&#46;slices</code> | - |")
    changed = [row.split("|")[1:4] for row in rows]
    assert [row for row in changed if row[0] != " <code>demo</code> "] == [
        [
            " <code>pilot</code> ",
            " <code>gate&#46;metrics&#46;sensitivity&#46;margin</code> ",
            " <code>0&#46;05</code> ",
        ],
        [
            " <code>pilot</code> ",
            " <code>gate&#46;retired</code> ",
            " <code>&#34;none&#34;</code> ",
        ],
        *(
            [" <code>pilot</code> ", f" <code>gate&#46;retired&#46;{key}</code> ", " - "]
            for key in ("commit", "reason")
        ),
    ]
    assert lines[-1] == "- <code>demo</code>: no results yet"
    assert "- <code>pilot</code>: unchanged results pass" in lines
    assert pilot(found).content()["changed_rules"]["gate.metrics.sensitivity.margin"] == [
        "0.05",
        "0.5",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gate.level": 0.5}, "has the key 'gate.level'"),
        ({"train": {"a.b": 1}}, "has the key 'a.b'"),
        ({"gate": RULES | {"junk": 1}}, "gate.junk is not a known key"),
        ({"gate": RULES | {"level": 0}}, "gate.level is 0: "),
        ({"gate": RULES | {"level": float("nan")}}, "gate.level is nan: "),
        ({"gate": RULES | {"metrics": {"accuracy": {"margin": 0.1, "floor": "none"}}}}, "cannot b"),
        ({"gate": RULES | {"slices": {"rich": {"sensitivity": 0.9}}}}, "'rich' is no slice; take"),
        ({"gate": RULES | {"slices": {"healthy": {"f1": 0.9}}}}, "'f1' cannot have a floor in a"),
        ({"gate": RULES | {"slices": {"healthy": {"sensitivity": 2}}}}, "healthy.sensitivity is 2"),
        ({"gate": RULES | {"patients": {"cells": 0, "margin": 0.3}}}, "gate.patients.cells is 0"),
        ({"gate": RULES | {"accept_loss": {"commit": "HEAD", "reason": REASON}}}, "is 'HEAD': "),
        ({"gate": 7}, "gate is 7"),
        ({"gate": RULES | {"x" * 1000: 1}}, "gate.xxx"),
        ({"gate": RULES | {"level": "y\x1b" * 10**6}}, "gate.level is 'y"),
        ({}, "has no section `gate`"),
        *(
            (
                {"gate": RULES | {"metrics": {"sensitivity": {"margin": margin, "floor": "none"}}}},
                f"gate.metrics.sensitivity.margin is {margin}",
            )
            for margin in (-0.1, 0, 1.5, float("nan"), float("inf"), True)
        ),
    ],
)
def test_broken_rules_are_one_sentence(branch: Branch, change: dict[str, Any], said: str) -> None:
    branch.commit(cells())
    branch.write(cells())
    rewrite(branch, change if "gate" in change or not change else {"gate": RULES} | change)
    text = (branch.root / "pilot" / PARAMS).read_text()
    (branch.root / "pilot" / PARAMS).write_text(
        text.replace("NaN", ".nan").replace("Infinity", ".inf")
    )
    with pytest.raises(MalariaError) as caught:
        judged(branch)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


# Decisions


@pytest.mark.parametrize("rules", [{"gate": OLD_RULES}, {}])
def test_the_decisions_are_those_of_the_head(branch: Branch, rules: dict[str, Any]) -> None:
    branch.write(cells(50))
    rewrite(branch, rules)
    git(branch.root, "add", "-A")
    git(branch.root, "commit", "-q", "-m", "base")
    branch.write(cells(), baseline_reset=branch.decided())
    assert (judged(branch).outcome, judged(branch).reasons) == (Outcome.RESET, [REASON])


def test_an_accepted_loss_is_shown_first_and_holds_once(branch: Branch) -> None:
    base = branch.commit(cells())
    git(branch.root, "switch", "-qc", "side")
    branch.commit(cells(loss=1.5), accept_loss=branch.decided(base))
    found = overall(branch, "side")
    assert (pilot(found).judgement.outcome, found.exit_code) == (Outcome.LOSS_ACCEPTED, 0)
    lines = found.comment.splitlines()
    assert lines[0] == "## Accepted loss in <code>pilot</code>"
    assert lines[2] == f"- {REASON}"
    assert lines[3].startswith("- sensitivity against the base&#58; worse by ")
    git(branch.root, "switch", "-q", "main")
    git(branch.root, "merge", "-q", "side")
    # The same word lets no further loss pass.
    branch.write(cells(loss=3), accept_loss=branch.decided(base))
    assert judged(branch).outcome == Outcome.FAIL
    # The accepted loss does not come up again.
    branch.write(cells(loss=1.5, noise=0.01))
    assert judged(branch).outcome == Outcome.PASS


# What cannot be read


def test_missing_metrics_are_refused(branch: Branch) -> None:
    branch.commit(cells())
    (branch.root / "pilot" / METRICS).unlink()
    with pytest.raises(MalariaError, match=r"^the pull request's reports/metrics\.json is not JS"):
        judged(branch)


def test_a_link_in_the_head_is_refused_and_one_in_the_base_only_a_reset_leaves_behind(
    branch: Branch,
) -> None:
    branch.commit(cells())
    file = branch.root / "pilot" / PREDICTIONS
    file.rename(branch.root / "elsewhere.csv")
    file.symlink_to("../../elsewhere.csv")
    with pytest.raises(MalariaError, match="is a symbolic link"):
        judged(branch)
    git(branch.root, "add", "-A")
    git(branch.root, "commit", "-qm", "linked")
    with pytest.raises(MalariaError, match="is a symbolic link"):
        judged(branch, "HEAD")
    file.unlink()
    branch.write(cells(loss=1.5))
    with pytest.raises(MalariaError, match=r"^the base's reports/predictions\.csv is not readable"):
        judged(branch)
    branch.write(cells(loss=1.5), baseline_reset=branch.decided())
    assert judged(branch).outcome == Outcome.FAIL  # the reference still speaks


def test_long_and_odd_names_stay_in_their_place(branch: Branch) -> None:
    nasty = "C1 <img src=x>|`@all`\u202e" + "x" * 10_000
    base = cells().replace({"patient": {"C4": nasty}})
    branch.commit(base)
    head = base.copy()
    missed = (head["patient"] == nasty) & (head["label"] == 1)
    head.loc[missed, ["logit", "probability"]] = [-5.0, 0.006693]
    branch.write(head)
    found = overall(branch)
    assert found.exit_code == 1
    assert len(found.comment) < 20_000
    for mark in ("<img", "@all", "\u202e"):
        assert mark not in found.comment
    branch.write(base.replace({"patient": {nasty: "C4"}}))
    with pytest.raises(MalariaError) as caught:
        judged(branch)
    assert len(str(caught.value)) < 1000
