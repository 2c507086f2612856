"""The commands of `malaria` around an evaluated model, and `doctor`."""

# What takes long to import (MLflow, Keras) is imported by the command that needs it.

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from malaria import root

Folder = Annotated[str, typer.Option(help="the pipeline whose evaluated model is meant")]
AsJson = Annotated[bool, typer.Option("--json", help="print it for programs")]


def predict(
    files: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or TIFF crops of single cells; folders of them")
    ],
    folder: Folder = "pilot",
    output: Annotated[Path | None, typer.Option(help="file to write; none: print")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of CSV")] = False,
) -> None:
    """Tell which crops are parasitized: a CSV with file, probability, label and threshold.

    The model and the threshold chosen on val are those of FOLDER, the crops are resized as the
    pipeline does it, so a cell of the pipeline gets the probability of its predictions.csv.

    All or nothing: where one file is damaged or no 8-bit RGB image, each such file is named,
    nothing is predicted or written, and the exit code is 2. Of folders, all files are taken but
    hidden ones and Thumbs.db.
    """
    from malaria import predict as prediction

    if output is not None:
        prediction.check_output(output)
    text = prediction.to_text(prediction.predict_files(root.ROOT, folder, files), as_json)
    if output is None:
        typer.echo(text, nl=False)
    else:
        prediction.write_output(text, output)


def register(folder: Folder = "pilot", as_json: AsJson = False) -> None:
    """Register FOLDER's evaluated model in MLflow, under its experiment's name, as candidate.

    The version has metrics, threshold and data hashes as tags and the model card as description,
    leads to the runs that made the model, and can be served. A model that is there already is not
    registered twice.

    Refused with exit code 2: results that are not those of the code and params beside them, and a
    model whose runs the store does not have, for `uv run malaria sync` to make them.
    """
    from malaria.register import register as register_model

    found = register_model(root.ROOT, folder)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(
        f"{found.name}: version {found.version} is {'new' if found.is_new else 'there already'}, "
        "and is the candidate"
    )


def promote(
    reason: Annotated[str, typer.Option(help="why; kept with the version")],
    folder: Folder = "pilot",
    by: Annotated[str | None, typer.Option(help="who promotes; none: Git's user")] = None,
    evaluate_base: Annotated[
        bool,
        typer.Option(
            "--evaluate-base",
            help="where the champion was tested on other cells, try its model on the new ones "
            "(model and data from DVC's cache)",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the candidate the champion, if the gate says PASS; else say why and exit with 1.

    It is judged by FOLDER's committed predictions, against the champion's, by the rules under
    gate in the committed params.yaml. Nothing but a PASS moves champion from one model to another.

    The first champion has none before it, so it needs a PASS against the results that were
    committed before its own. Where there are none, or a reviewed gate.baseline_reset says that
    they are no yardstick, it needs the gate's floors alone.

    Who, when, why, the verdict and the former champion stay with the version as its tags
    promotion.TIME.*; of two who promote at once, one at most does.
    """
    from malaria.promote import promote as promote_model

    found = promote_model(root.ROOT, folder, reason, by, evaluate_base)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"is_champion": found.is_champion}, indent=2))
    elif not found.against:
        typer.echo(f"{found.name}: version {found.candidate} is the champion already")
    else:
        typer.echo(
            f"{found.name}: version {found.candidate} against {found.against}: {found.outcome}"
        )
        for line in found.reasons:
            typer.echo(f"  {line}")
        before = f"version {found.former}" if found.former else "none"
        if found.is_champion:
            typer.echo(f"champion: version {found.champion} (before: {before})")
        else:
            typer.echo(f"champion: {before}, as before")
    if not found.is_champion:
        raise typer.Exit(1)


def doctor(as_json: AsJson = False) -> None:
    """Check what commonly breaks and say what to do; exit with 1 where something fails.

    A line is `ok`, `warn` or `fail`, what was looked at, what was found and what to do. Looked at
    are Python, Git, the GPU, the disk, pinned files, DVC's links and remotes, MLflow's store with
    its runs and artifacts, and what killed processes left. Nothing is changed.
    """
    from malaria.doctor import examine

    found = []
    for finding in examine(root.ROOT):
        found.append(finding)
        if not as_json:
            typer.echo(finding)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)
