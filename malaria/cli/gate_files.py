"""`malaria gate --files`: two tables of scores, of any project."""

import json
from pathlib import Path
from typing import Annotated

import typer

from malaria.cli import root
from malaria.errors import MalariaError
from malaria.paths import PARAMS

THRESHOLD = 0.5
Files = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="BASE.csv HEAD.csv", help="judge these scores (id, group, label, score) instead"
    ),
]
Thresholds = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="BASE HEAD",
        help=f"of --files: the least score that is positive (default: {THRESHOLD} {THRESHOLD})",
    ),
]
Params = Annotated[
    Path | None,
    typer.Option(
        help=f"of --files: YAML file with rules under `gate` (default: ./{PARAMS}; what it lacks "
        "is as in this repository)",
        show_default=False,
    ),
]


WITH_FILES = {"files", "thresholds", "params"}
WITH_BOTH = {"comment", "as_json"}


def check_options(context: typer.Context) -> None:
    """Raise MalariaError for an option that does nothing with, or without, --files."""
    given = {}
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if source is not None and source.name == "COMMANDLINE":
            given[param.name] = param.opts[0]
    has_files = "files" in given
    for name, option in given.items():
        if name not in WITH_BOTH and (name in WITH_FILES) != has_files:
            how = "with" if has_files else "without"
            raise MalariaError(f"{option} does nothing {how} --files; leave it out.")


def judge_files(
    files: tuple[Path, Path],
    thresholds: tuple[float, float] | None,
    params: Path | None,
    comment: Path | None,
    as_json: Path | None,
) -> None:
    """Judge two tables, print and write the answer, and exit with the gate's code."""
    from malaria.core.files import write_file
    from malaria.gate.comment import comment as comment_of
    from malaria.gate.tables import judge_tables, read_rules

    rules = read_rules(params or Path(PARAMS), root.ROOT / PARAMS, params is not None)
    base, head = files
    judgement = judge_tables(base, head, thresholds or (THRESHOLD, THRESHOLD), rules)
    typer.echo("\n  ".join([f"{head}: {judgement.outcome}", *judgement.reasons]))
    if comment is not None:
        write_file(comment, comment_of(judgement, str(head)))
    if as_json is not None:
        content = {str(head): json.loads(judgement.to_json())}
        write_file(as_json, json.dumps(content, indent=2) + "\n")
    if judgement.exit_code:
        raise typer.Exit(judgement.exit_code)
