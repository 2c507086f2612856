"""The result tables between their markers in README.md and docs/results.md."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from malaria.core.files import write_file
from malaria.errors import MalariaError
from malaria.studies import tables
from malaria.studies.tables import PILOT

START = "<!-- {name}: made by `uv run malaria results` -->"
END = "<!-- /{name} -->"
STUDY = "."
README, RESULTS = "README.md", "docs/results.md"
REMEDY = "uv run malaria results"


# By file and the name in its markers there.
TABLES: dict[tuple[str, str], Callable[[Path], str]] = {
    (README, "results"): partial(tables.main_table, folder=STUDY),
    (RESULTS, "study-models"): partial(tables.model_table, folder=STUDY),
    (RESULTS, "study-jax"): partial(tables.jax_table, folder=STUDY),
    (RESULTS, "study-leaky"): partial(tables.leaky_table, folder=STUDY),
    (RESULTS, "study-series"): partial(tables.series_table, folder=STUDY),
    (RESULTS, "pilot"): partial(tables.split_table, folder=PILOT),
    (RESULTS, "cuts"): tables.cuts,
    (RESULTS, "leaky"): partial(tables.leaky_table, folder=PILOT),
    (RESULTS, "series"): partial(tables.series_table, folder=PILOT),
    (RESULTS, "models"): partial(tables.model_table, folder=PILOT),
}


def write_results(root: Path) -> dict[str, bool]:
    """Write each table between its markers; return whether that changed each file.

    If one of them cannot be made, no file changes. Raises MalariaError for a missing marker and
    for results that are not there.
    """
    texts: dict[str, str] = {}
    for (file, name), table in TABLES.items():
        text = texts.get(file) or _text(root, file)
        between(text, name, file)
        start, end = START.format(name=name), END.format(name=name)
        before, after = text.split(start)[0], text.split(end)[1]
        texts[file] = f"{before}{start}\n\n{_made(root, name, table)}\n\n{end}{after}"
    changed = {}
    for file, text in texts.items():
        changed[file] = _text(root, file) != text
        write_file(root / file, text)
    return changed


def table_faults(root: Path) -> dict[str, list[str]]:
    """Return, by file, a sentence for each table that `write_results` would change or refuse."""
    found: dict[str, list[str]] = {file: [] for file, _ in TABLES}
    for (file, name), table in TABLES.items():
        try:
            if between(_text(root, file), name, file) != _made(root, name, table):
                found[file].append(
                    f"the table `{name}` of {file} is not what the committed results give"
                )
        except MalariaError as error:
            found[file].append(str(error).removesuffix(".").replace(f"{root}/", ""))
    return {file: list(dict.fromkeys(faults)) for file, faults in found.items()}


def between(text: str, name: str, file: str) -> str:
    """Return the text between the markers of a table; raises MalariaError if they are not there."""
    start, end = START.format(name=name), END.format(name=name)
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise MalariaError(f"{file} needs the lines {start} and {end} once each; add them.")
    return text.split(start)[1].split(end)[0].strip()


def _text(root: Path, file: str) -> str:
    try:
        return (root / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MalariaError(f"{file} is missing; bring it back from Git.") from None
    except ValueError:
        raise MalariaError(f"{file} is not UTF-8; bring it back from Git.") from None


def _made(root: Path, name: str, table: Callable[[Path], str]) -> str:
    """Return a table as the results give it; raises MalariaError for missing or broken results."""
    try:
        return table(root)
    except FileNotFoundError as error:
        raise MalariaError(
            f"{error.filename} is missing; bring it back from Git, run `dvc repro` in its folder "
            "to its end, or `uv run malaria collect` it again."
        ) from None
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise MalariaError(
            f"the results behind the table `{name}` cannot be read ({error!r}); bring them back "
            "from Git."
        ) from None
