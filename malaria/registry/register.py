"""`malaria register`: the evaluated model of a folder becomes a version in the registry."""

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from malaria.core.params import flatten
from malaria.data.images import RESIZED
from malaria.errors import MalariaError
from malaria.gate.lock_check import check_lock
from malaria.paths import CARD, CELLS, IMAGES, METRICS, MODEL, PREDICTIONS, ZIP
from malaria.pipeline.git import commit_of
from malaria.pipeline.identity import identity_of_lock
from malaria.pipeline.stages import place
from malaria.registry.evaluated_model import EvaluatedModel, read_evaluated_model
from malaria.registry.versions import CANDIDATE, DATA, Registry, Version, open_registry
from malaria.tracking.address import shown_uri
from malaria.tracking.store import IDENTITY
from malaria.tracking.write import DEP, FOLDER

KEPT = (MODEL, METRICS, PREDICTIONS, CARD)  # files of the folder that a version keeps
INPUTS = (CELLS, IMAGES, ZIP)  # whose md5 a version has as tags
MODEL_MD5 = "malaria.model"
THRESHOLD = "malaria.threshold"
RESIZE = "malaria.resize"
# What `malaria.registry.serving` imports, by the names that pip knows; a version has the package.
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
ESSENTIAL = ("Intended use", "Results", "Limits")  # sections that a user must see
DESCRIPTION_LIMIT = 5000  # characters, in MLflow's tables
PICTURE = re.compile(r"^!\[.*\n\n?", re.MULTILINE)


@dataclass(frozen=True)
class Registered:
    """A version that is now the candidate."""

    name: str
    version: str
    is_new: bool


def register(root: Path, folder: str) -> Registered:
    """Register the evaluated model of a folder of the repository and name it `candidate`.

    A model that is registered already, with this threshold, gets the alias but no second version.
    Raises MalariaError if the folder's lock is stale, a file is missing or is not that of the
    lock, the store fails, or the store does not have the runs that made the model.
    """
    evaluated = read_fresh(root, folder)
    with open_registry(root, folder) as registry:
        found = find_version(registry, evaluated)
        version = found or _add(root, folder, evaluated, registry)
        registry.set_alias(CANDIDATE, version)
        return Registered(registry.name, version.number, is_new=found is None)


def read_fresh(root: Path, folder: str) -> EvaluatedModel:
    """Return a folder's evaluated model.

    Raises MalariaError if code, params or results are not those of the run.
    """
    evaluated = read_evaluated_model(root, folder, PREDICTIONS, CARD)
    state = check_lock(root, folder)
    if state.state != "ok":
        raise MalariaError(
            f"the lock of {folder} does not match its files ({'; '.join(state.reasons)}); "
            f"run `{state.remedy}` first."
        )
    return evaluated


def find_version(registry: Registry, evaluated: EvaluatedModel) -> Version | None:
    """Return the newest version of this model at this threshold, None if there is none."""
    wanted = _pins(evaluated).items()
    return next((one for one in registry.versions() if wanted <= one.tags.items()), None)


def describe(card: str) -> str:
    """Return a model card without its pictures, cut to what MLflow has room for.

    The longest sections are dropped, those of ESSENTIAL last, and named at the end.
    """
    head, *sections = PICTURE.sub("", card).strip().split("\n## ")
    dropped: list[str] = []
    while True:
        text = "\n## ".join([head, *sections]).strip()
        if dropped:
            text += f"\n\nLeft out: {', '.join(dropped)}. {Path(CARD).name} is in the artifacts."
        if len(text) <= DESCRIPTION_LIMIT or not sections:
            return text[:DESCRIPTION_LIMIT]
        longest = max(sections, key=lambda text: (not text.startswith(ESSENTIAL), len(text)))
        sections.remove(longest)
        dropped.append(longest.partition("\n")[0])


def _pins(evaluated: EvaluatedModel) -> dict[str, str]:
    """Return the tags that identify the version of an evaluated model."""
    return {MODEL_MD5: evaluated.model_md5, THRESHOLD: json.dumps(evaluated.threshold)}


def _add(root: Path, folder: str, evaluated: EvaluatedModel, registry: Registry) -> Version:
    identity = identity_of_lock(root / folder)
    model = place(folder, MODEL)
    runs = registry.find_runs(identity, model, evaluated.model_md5)
    if runs is None:
        raise MalariaError(
            f"{shown_uri(root)} has no run of {model} (MD5 {evaluated.model_md5}) to link the "
            "version to; make it from dvc.lock with `uv run malaria sync`, then register again."
        )
    metrics = flatten(evaluated.metrics).items()
    tags = {
        **_pins(evaluated),
        IDENTITY: identity,
        FOLDER: folder,
        "malaria.commit": commit_of(root, "HEAD"),
        RESIZE: RESIZED,
        **{f"{DEP}{place(folder, path)}": evaluated.hashes[path] for path in INPUTS},
        **{name: json.dumps(value) for name, value in metrics if value is not None},
    }
    requirements = [f"{name}=={installed(name)}" for name in REQUIREMENTS]
    description = describe((evaluated.folder / CARD).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
        data = Path(scratch, DATA)
        data.mkdir()
        for path in KEPT:
            shutil.copyfile(evaluated.folder / path, data / Path(path).name)
        return registry.add(data, requirements, runs, tags, description)
