"""Commands for an evaluated model, and `doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from malaria.cli import root
from malaria.core.environment import check_backend


def predict(
    files: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or TIFF crops of single cells, or folders")
    ],
    folder: root.Folder = None,
    output: Annotated[Path | None, typer.Option(help="file to write (default: print)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of CSV")] = False,
) -> None:
    """Predict which crops are parasitized: a CSV with file, probability, label and threshold.

    Model and threshold are FOLDER's, and crops are resized as in the pipeline, so a cell of the
    pipeline gets the probability that is in its predictions.csv.

    All or nothing: if a file is damaged or not an 8-bit RGB image, each such file is named,
    nothing is predicted or written, and the exit code is 2. In folders, hidden files and what
    systems leave there (Thumbs.db, desktop.ini, __MACOSX) are skipped.

    Crops that are unlike any cell of the set, by size or background, are named in a warning.
    """
    from malaria.core.files import write_file
    from malaria.registry import predict as prediction

    folder = root.chosen(folder)

    check_backend()
    if output is not None:
        prediction.check_output(output)
    answer, warning = prediction.predict_files(root.ROOT, folder, files, root.tell)
    text = prediction.to_text(answer, as_json)
    if warning:
        typer.echo(f"malaria: warning: {warning}", err=True)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_file(output, text)


def register(folder: root.Folder = None, as_json: root.AsJson = False) -> None:
    """Register FOLDER's evaluated model in MLflow, under its experiment's name, as `candidate`.

    The version has metrics, threshold and data hashes as tags and the model card as description,
    links to the runs that made the model, and can be served. A model is registered only once.

    Refused with exit code 2: results that do not belong to the code and params, and a model whose
    runs are not in the store (`uv run malaria sync` adds them).
    """
    from malaria.registry.evaluated_model import read_evaluated_model

    folder = root.chosen(folder)
    read_evaluated_model(root.ROOT, folder)
    root.tell("MLflow's store is opened")
    from malaria.registry.register import register as register_model

    found = register_model(root.ROOT, folder)
    if as_json:
        typer.echo(json.dumps(found, default=asdict, indent=2))
        return
    typer.echo(
        f"{found.name}: version {found.version} is {'new' if found.is_new else 'there already'}, "
        "and is the candidate"
    )


def promote(
    reason: Annotated[str, typer.Option(help="why; kept with the version")],
    folder: root.Folder = None,
    by: Annotated[str | None, typer.Option(help="who promotes (default: Git's user)")] = None,
    evaluate_base: root.EvaluateBase = False,
    as_json: root.AsJson = False,
) -> None:
    """Make the candidate the champion if the gate says PASS; else say why and exit with 1.

    FOLDER's committed predictions are compared with the champion's, by the rules under `gate` in
    the committed params.yaml. Only a PASS moves `champion` to another model.

    The first champion has nothing to be compared with: it needs only the gate's floors.

    Who, when, why, the verdict, the commit and the former champion stay with the version as its
    tags promotion.*.
    """
    folder = root.chosen(folder)
    root.tell("the candidate is compared with the champion")
    from malaria.registry.promote import promote as promote_model

    found = promote_model(root.ROOT, folder, reason, by, evaluate_base)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"is_champion": found.is_champion}, indent=2))
    else:
        outcome = f"{found.name}: version {found.candidate}: {found.outcome}"
        typer.echo("\n  ".join([outcome, *found.reasons]))
        before = f"version {found.former}" if found.former else "none"
        if found.champion != found.former:
            typer.echo(f"champion: version {found.champion} (before: {before})")
        else:
            typer.echo(f"champion: {before}, as before")
    if not found.is_champion:
        raise typer.Exit(1)


def doctor(as_json: root.AsJson = False) -> None:
    """Check what commonly breaks and say what to do; exit with 1 if something does not work.

    Each line has `ok`, `warn` or `fail`, what was checked, what was found, and the remedy. Checked
    are Python and its packages, Git, the device, the disk, pinned files, DVC's links, remotes and
    locks, MLflow's store, and what killed processes left. Nothing is changed.
    """
    root.tell("checks take up to a minute")
    from malaria.doctor.checks import examine

    found = []
    for finding in examine(root.ROOT):
        found.append(finding)
        if not as_json:
            typer.echo(finding)
    if as_json:
        typer.echo(json.dumps(found, default=asdict, indent=2))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)
