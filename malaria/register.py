"""`malaria register`: the evaluated model of a folder becomes a version in the registry."""

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from malaria.errors import MalariaError
from malaria.finished import CARD, MODEL, Finished, read_finished
from malaria.lockcheck import check_lock
from malaria.logged import DEP, FOLDER
from malaria.params.base import PARAMS, read_yaml
from malaria.params.study import REPO, flatten
from malaria.pipeline import METRICS, PREDICTIONS, identity_of_lock, in_repo
from malaria.registry import CANDIDATE, DATA, Registry, Version, open_registry
from malaria.revisions import commit_of
from malaria.store import IDENTITY, shown_uri

KEPT = (MODEL, METRICS, PREDICTIONS, CARD)  # files of the folder that a version keeps
INPUTS = ("data/cells.csv", "data/images.npy", "data/raw/cell_images.zip")  # whose md5 it tells
MODEL_MD5 = "malaria.model"
THRESHOLD = "malaria.threshold"
# What `malaria.serving` imports, by the names that pip knows; the package itself goes whole.
REQUIREMENTS = (
    "keras",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "tqdm",
)
DESCRIPTION_LIMIT = 5000  # characters, in MLflow's tables
PICTURE = re.compile(r"^!\[.*\n\n?", re.MULTILINE)


@dataclass(frozen=True)
class Registered:
    """A version that `candidate` names now."""

    name: str
    version: str
    is_new: bool


def register(root: Path, folder: str) -> Registered:
    """Register the evaluated model of a folder, seen from the root, and name it `candidate`.

    A model that is there already, with this threshold, gets the alias and no second version.
    Raises MalariaError where the folder's lock is stale, a file is missing or is not that of the
    lock, and where the store fails or has not the runs that made the model.
    """
    finished = read_fresh(root, folder)
    with open_registry(root, folder) as registry:
        found = find_version(registry, finished)
        version = found or _add(root, folder, finished, registry)
        registry.set_alias(CANDIDATE, version)
        return Registered(registry.name, version.number, is_new=found is None)


def read_fresh(root: Path, folder: str) -> Finished:
    """Return a folder's evaluated model.

    Raises MalariaError where code, params or results are not those of the run.
    """
    finished = read_finished(root, folder, PREDICTIONS, CARD)
    state = check_lock(root, folder)
    if state.state != "ok":
        raise MalariaError(
            f"the lock of {folder} does not tell of what is there ({'; '.join(state.reasons)}); "
            f"run `{state.remedy}` first."
        )
    return finished


def find_version(registry: Registry, finished: Finished) -> Version | None:
    """Return the newest version of this model at this threshold, None where there is none."""
    wanted = _pins(finished).items()
    return next((one for one in registry.versions() if wanted <= one.tags.items()), None)


def describe(card: str) -> str:
    """Return a model card without its pictures, cut to what MLflow has room for.

    The longest sections give way, and are named at the end.
    """
    head, *sections = PICTURE.sub("", card).strip().split("\n## ")
    left_out: list[str] = []
    while True:
        text = "\n## ".join([head, *sections]).strip() + (_note(left_out) if left_out else "")
        if len(text) <= DESCRIPTION_LIMIT or not sections:
            return text[:DESCRIPTION_LIMIT]
        longest = max(sections, key=len)
        sections.remove(longest)
        left_out.append(longest.partition("\n")[0])


def _note(titles: list[str]) -> str:
    return f"\n\nLeft out: {', '.join(titles)}. {Path(CARD).name} among the artifacts has all."


def _pins(finished: Finished) -> dict[str, str]:
    """Return the tags by which the version of an evaluated model is known."""
    return {MODEL_MD5: finished.model_md5, THRESHOLD: json.dumps(finished.threshold)}


def _add(root: Path, folder: str, finished: Finished, registry: Registry) -> Version:
    identity = identity_of_lock(root / folder, read_yaml(root / folder / PARAMS)[REPO])
    model = in_repo(MODEL, root / folder, root)
    runs = registry.find_runs(identity, model, finished.model_md5)
    if runs is None:
        raise MalariaError(
            f"{shown_uri(root)} has no run of {model} (MD5 {finished.model_md5}) to link the "
            "version to; make it from dvc.lock with `uv run malaria sync`, then register again."
        )
    metrics = flatten(finished.metrics).items()
    tags = {
        IDENTITY: identity,
        FOLDER: folder,
        "malaria.commit": commit_of(root, "HEAD"),
        **{f"{DEP}{in_repo(path, root / folder, root)}": finished.hashes[path] for path in INPUTS},
        **{name: json.dumps(value) for name, value in metrics if value is not None},
    }
    with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
        data = Path(scratch, DATA)
        data.mkdir()
        for path in KEPT:
            shutil.copyfile(finished.folder / path, data / Path(path).name)
        return registry.add(
            data,
            [f"{name}=={installed(name)}" for name in REQUIREMENTS],
            runs,
            _pins(finished) | tags,
            describe((finished.folder / CARD).read_text(encoding="utf-8")),
        )
