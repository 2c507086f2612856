"""Where artifacts of a local store lie, also after it was moved or copied with its repository.

MLflow keeps their places as absolute addresses, so a copy would write into the original's folder.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from malaria import MLFLOW_CALL_LIMIT_S

FOLDER = "mlartifacts"
UPLOADING = ".artifact.uploading."  # MLflow's; a file gets its name when it is whole
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def place_of(root: Path, experiment: str) -> str:
    """Return the address of an experiment's artifacts, beside the store at the root."""
    return (root / FOLDER / experiment).as_uri()


def folder_before(root: Path, experiment: str, place: str) -> Path | None:
    """Return the folder of artifacts of the repository that the store was made in.

    None where the experiment's place is in this repository, or nothing that this package chose.
    """
    end = place_of(root, experiment).removeprefix((root / FOLDER).as_uri())
    if not (place.startswith("file:") and place.endswith(f"/{FOLDER}{end}")):
        return None
    folder = _path_of(place.removesuffix(end))
    return None if folder.resolve() == (root / FOLDER).resolve() else folder


def is_beside(file: Path, root: Path) -> bool:
    """Return whether a store is the repository's own, and moves with it."""
    return file.parent.resolve() == root.resolve()


def prepare(file: Path, root: Path) -> list[str]:
    """Make sure that a store's file can be written; correct the places of a moved one.

    Returns a sentence for each place that was corrected. Raises sqlite3.Error within seconds for a
    file that is locked or cannot be opened.
    """
    with closing(sqlite3.connect(file, timeout=MLFLOW_CALL_LIMIT_S)) as store:
        store.isolation_level = None
        store.execute("BEGIN IMMEDIATE")
        told = _correct(store, root) if is_beside(file, root) else []
        store.execute("COMMIT")
    return told


def half_artifacts(root: Path) -> list[Path]:
    """Return files that MLflow was about to rename when its process was killed, or is now."""
    return [*(root / FOLDER).glob(f"*/*/artifacts/**/{UPLOADING}*")]


def _correct(store: sqlite3.Connection, root: Path) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {name for (name,) in store.execute(query)}
    if "experiments" not in tables:
        return []
    places = store.execute("SELECT name, artifact_location FROM experiments").fetchall()
    before = {folder_before(root, str(name), str(place)): str(place) for name, place in places}
    folders = {folder: place.rpartition("/")[0] for folder, place in before.items() if folder}
    for old in folders.values():
        new = (root / FOLDER).as_uri()
        for table, column in COLUMNS:
            if table in tables:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old) + 1, f"{old}/"),
                )
    return [_sentence(folder, root) for folder in folders]


def _sentence(folder: Path, root: Path) -> str:
    here = root / FOLDER
    told = f"the store was made beside {folder}; from now on its artifacts are in {here}"
    if folder.is_dir() and not here.exists():
        return f"{told}, to which `cp -r {folder} {root}` brings the earlier ones."
    return f"{told}."


def _path_of(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))
