"""Any two models' scores of the same cases, read from CSV files of another project.

A table has a row for each case: id, group (cases of one vary together, as a patient's cells do),
label (1 is what is looked for) and score. They become what the gate reads of the pipeline's own
predictions, so the same code judges them.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

from malaria.core.params import find_section, parse
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.gate.judge import judge
from malaria.gate.judgement import Judgement
from malaria.gate.params import GateParams
from malaria.gate.predictions import SPLIT, Evaluated, Files
from malaria.report.recipe_changes import shortened

COLUMNS = ("id", "group", "label", "score")
LABELS = ("0", "1")
SCORE = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", re.ASCII)
LARGEST_MB = 100
# The area under the ROC curve is resampled from a table of groups by groups.
MOST_GROUPS = 5000
SURE = 1000.0  # the logit of the scores 0 and 1, beyond that of every other


def judge_tables(
    base: Path, head: Path, thresholds: tuple[float, float], params: GateParams
) -> Judgement:
    """Return the judgement on the scores in `head` against those in `base`.

    A case is called positive if its score is at least its table's threshold. Raises MalariaError
    for a file that is not such a table, other cases, groups or labels than in the other file, and
    a threshold outside [0, 1].
    """
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise MalariaError(f"the threshold {threshold:g} is outside 0 to 1; correct it.")
    contents = _read(base), _read(head)
    theirs, ours = (_cells(*pair) for pair in zip((base, head), contents, strict=True))
    _check_same(base, theirs, head, ours)
    other, own = (
        Files(content, b"", read=Evaluated(cells, threshold))
        for content, cells, threshold in zip(contents, (theirs, ours), thresholds, strict=True)
    )
    return judge(own, other, None, params, base_commit="")


def read_rules(path: Path, default: Path, is_asked: bool) -> GateParams:
    """Return the gate's rules in the section `gate` of `path`; what it leaves out is `default`'s.

    Unless the file `is_asked` for, it may be missing or have no such section. Raises MalariaError.
    """
    rules = find_section(GateParams, read_yaml(default), default)
    if not path.is_file():
        if is_asked:
            raise MalariaError(f"{path} is missing; name a params.yaml with a section `gate`.")
        return rules
    given = read_yaml(path).get(GateParams.section)
    if given is None and not is_asked:
        return rules
    if not isinstance(given, dict):
        raise MalariaError(f"{path} has no mapping `{GateParams.section}`; add one.")
    return parse(GateParams, read_yaml(default)[GateParams.section] | given, path)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_MB * 10**6:
            raise MalariaError(
                f"{path} has {size / 10**6:.0f} MB, more than the {LARGEST_MB} MB that the gate "
                "reads; leave out the columns that it does not need, or judge a sample."
            )
        return path.read_bytes()
    except OSError as error:
        raise MalariaError(f"{path} cannot be read ({error.strerror}); correct it.") from None


def _cells(path: Path, content: bytes) -> pd.DataFrame:
    """Return the cases of a table as test cells, sorted by id; raises MalariaError."""
    try:
        return _parse(content)
    except ValueError as error:
        raise MalariaError(
            f"{path} {error}; it is to be a CSV file in UTF-8 with the columns "
            f"{', '.join(COLUMNS)}, a row for each case."
        ) from None


def _parse(content: bytes) -> pd.DataFrame:
    """Return the cases as test cells, sorted by id; raises ValueError that says what is wrong."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise ValueError("has a NUL character, so it is no text")
    rows = _rows(text)
    names = [name for name, _, _, _ in rows]
    if len(set(names)) < len(names):
        ((twice, _),) = Counter(names).most_common(1)
        raise ValueError(f"has the id {_shown(twice)} more than once")
    score = np.array([score for _, _, _, score in rows])
    with np.errstate(divide="ignore"):
        logits = np.clip(logit(score), -SURE, SURE)
    cells = pd.DataFrame(
        {
            "cell_id": pd.array(names, dtype="string"),
            "patient": pd.array([group for _, group, _, _ in rows], dtype="string"),
            "split": pd.array([SPLIT] * len(rows), dtype="string"),
            "label": [label for _, _, label, _ in rows],
            "logit": logits,
            "probability": score,
        }
    )
    if cells["patient"].nunique() > MOST_GROUPS:
        raise ValueError(
            f"has {cells['patient'].nunique():,} groups, more than {MOST_GROUPS:,}: a group is "
            "what cases share, as a patient or a place"
        )
    return cells.sort_values("cell_id", ignore_index=True)


def _rows(text: str) -> list[tuple[str, str, int, float]]:
    """Return id, group, label and score of each row; raises ValueError."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(reader, [])
        for name in COLUMNS:
            if head.count(name) != 1:
                raise ValueError(f"has the column `{name}` {head.count(name)} times in its header")
        places = [head.index(name) for name in COLUMNS]
        found = []
        for row in reader:
            line = f"in line {reader.line_num}"
            if len(row) != len(head):
                raise ValueError(f"has {len(row)} values {line}, but {len(head)} in its header")
            name, group, label, score = (row[place] for place in places)
            for column, value in (("id", name), ("group", group)):
                if not value.strip() or not value.isprintable():
                    raise ValueError(f"has the {column} {_shown(value)} {line}, which is no name")
            if label not in LABELS:
                raise ValueError(f"has the label {_shown(label)} {line}, which is neither 0 nor 1")
            if not SCORE.fullmatch(score) or not 0 <= float(score) <= 1:
                raise ValueError(
                    f"has the score {_shown(score)} {line}, which is no number from 0 to 1"
                )
            found.append((name, group, int(label), float(score)))
    except csv.Error as error:
        raise ValueError(f"is no CSV in line {reader.line_num} ({error})") from None
    if not found:
        raise ValueError("has no row below its header")
    return found


def _check_same(base: Path, theirs: pd.DataFrame, head: Path, ours: pd.DataFrame) -> None:
    """Raise MalariaError unless both tables have the same cases, groups and labels."""
    before, after = (one.set_index("cell_id") for one in (theirs, ours))
    for path, other, only in (
        (base, head, before.index.difference(after.index)),
        (head, base, after.index.difference(before.index)),
    ):
        if len(only):
            raise MalariaError(
                f"{path} has {len(only):,} ids that are not in {other}, as {_shown(only[0])}; "
                "score the same cases with both models."
            )
    for column, shown in (("patient", "group"), ("label", "label")):
        differs = before[column].to_numpy() != after[column].to_numpy()
        if differs.any():
            row = int(np.asarray(differs).argmax())
            values = " and ".join(_shown(str(one[column].iloc[row])) for one in (before, after))
            raise MalariaError(
                f"{base} and {head} have another {shown} for {int(differs.sum()):,} ids, as "
                f"{_shown(before.index[row])} ({values}); give both the same."
            )


def _shown(text: str) -> str:
    """Return foreign text for a message: quoted, on one line, not too long."""
    return shortened(repr(text))
