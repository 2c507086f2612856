"""The rules of the house, read off the files: who imports whom, what depends on what."""

import ast
import importlib.metadata
import re
import subprocess
import tomllib
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from malaria.params.base import read_yaml
from malaria.params.study import SECTIONS, flatten, load_study
from malaria.pipeline import read_stages, values_of
from malaria.results import END, START, TABLES

ROOT = Path(__file__).resolve().parents[1]
STAGES = [
    "fetch",
    "split",
    "preprocess",
    "explore",
    "controls",
    "train",
    "evaluate",
    "explain",
    "report",
]
REPORT = "report"
PAGES = "malaria/page.py"  # fills in the templates
# Files that a stage imports or could but that cannot change its outputs: errors and their text, the
# check of the whole params.yaml, the logging, and the gate's template. A change of them must not
# cost a training.
NO_EFFECT = {
    "malaria/entry.py",
    "malaria/errors.py",
    "malaria/params/study.py",
    "malaria/pipeline.py",
    "malaria/rows.py",
    "malaria/stage.py",
    "malaria/states.py",
    "malaria/templates/gate_comment.md.j2",
    "malaria/tracking.py",
}
# Who knows MLflow; `import store` and the like are theirs to hide.
MLFLOW = {
    "malaria/checks/store.py",
    "malaria/index.py",
    "malaria/lineage.py",
    "malaria/logged.py",
    "malaria/logged_model.py",
    "malaria/rebuild.py",
    "malaria/registry.py",
    "malaria/serving.py",
    "malaria/store.py",
    "malaria/sync.py",
    "malaria/tracking.py",
}


@cache
def imported(path: str) -> frozenset[str]:
    """Return the names of the modules that a file imports, also inside its functions."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def closure(path: str, without: Collection[str] = frozenset(NO_EFFECT)) -> set[str]:
    """Return the files of this repository that are run when `path` is, with no effect-free ones."""
    found: set[str] = set()
    waiting = {path}
    while waiting:
        file = waiting.pop()
        found.add(file)
        if file == PAGES:
            templates = ROOT.glob("malaria/templates/*")
            found |= {str(path.relative_to(ROOT)) for path in templates} - set(without)
        for name in imported(file):
            for candidate in (f"{name.replace('.', '/')}.py", f"stages/{name}.py"):
                if (ROOT / candidate).is_file() and candidate not in found | set(without):
                    waiting.add(candidate)
    return found


def code_that_matters(stage: str) -> set[str]:
    """Return the files that can change a stage's outputs; the report lists those of all stages."""
    if stage == REPORT:
        return set().union(*(closure(f"stages/{other}.py") for other in STAGES))
    return closure(f"stages/{stage}.py")


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_files_that_can_change_the_outputs(stage: str) -> None:
    stages = read_stages(ROOT, ".")
    made = {out for other in stages.values() for out in other.outs}
    code = [dep.removeprefix("./") for dep in stages[stage].deps if dep not in made]
    assert code == sorted(code_that_matters(stage))


def test_packages_run_nothing_on_import() -> None:
    for package in ("malaria", "malaria/checks", "malaria/params"):
        body = ast.parse((ROOT / package / "__init__.py").read_text()).body
        assert [type(node) for node in body] == [ast.Expr]  # the docstring, so it is no dep


def test_every_key_but_mlflows_and_the_gates_is_used_and_the_report_shows_it() -> None:
    stages = read_stages(ROOT, ".")
    keys = {f"{model.section}.{key}" for model in SECTIONS for key in model.model_fields}
    keys = {key for key in keys if not key.startswith(("gate.", "mlflow."))}
    assert {key for name in STAGES if name != REPORT for key in stages[name].params} == keys
    shown = stages[REPORT].params
    assert all(key in shown or key.split(".")[0] in shown for key in keys)


def test_no_key_has_a_name_that_dvcs_run_cache_overlooks() -> None:
    overlooked = {"size", "nfiles"}  # dvc.stage.cache leaves them out of its key, at any depth
    for folder in ("", "demo", "pilot"):
        params = load_study(ROOT / folder / "params.yaml")
        for stage in read_stages(ROOT, ".").values():
            for key, value in values_of(stage, params).items():
                names = flatten({key: value})
                below = {part for name in names for part in name.removeprefix(key).split(".")}
                assert not ({key} | below) & overlooked


@pytest.mark.parametrize("folder", ["demo", "pilot"])
def test_the_pipeline_is_the_same_file_everywhere(folder: str) -> None:
    assert (ROOT / folder / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def test_every_stage_and_plot_says_what_it_is() -> None:
    pipeline = read_yaml(ROOT / "dvc.yaml")
    assert list(pipeline["stages"]) == STAGES
    assert all(stage["desc"] for stage in pipeline["stages"].values())
    titles = {name for plot in pipeline["plots"] for name in plot}
    assert {"loss", "roc", "precision_recall", "calibration", "confusion_test"} <= titles


def test_data_flows_one_way() -> None:
    for path in ROOT.glob("malaria/**/*.py"):
        file = path.relative_to(ROOT).as_posix()
        top = {name.split(".")[0] for name in imported(file)}
        assert not top & {"stages", *STAGES, "dvc"}, file
        if file not in MLFLOW:
            assert "mlflow" not in top, file
        if file not in ("malaria/backend.py", "malaria/gradients.py"):
            assert not top & {"tensorflow", "jax"}, file
    for stage in STAGES:
        others = {f"stages.{other}" for other in STAGES} | set(STAGES)
        assert not imported(f"stages/{stage}.py") & others


def pins() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    constraints = map(Requirement, project["tool"]["uv"]["constraint-dependencies"])
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in constraints}


def test_pins_cover_what_is_installed() -> None:
    installed = {
        canonicalize_name(item.metadata["Name"]): f"=={item.version}"
        for item in importlib.metadata.distributions()
    }
    ours = {"malaria", "pip", "setuptools", "wheel"}  # an environment's own tools have no pin
    unpinned = {
        f"{name}{version} (pin: {pins().get(name)})"
        for name, version in installed.items()
        if name not in ours and pins().get(name) != version
    }
    assert not unpinned


def test_nothing_private_or_heavy_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for file in listed:
        assert not re.search(r"(^|/)uv\.lock$|mlflow\.db|mlartifacts/|\.(h5|zip|npy|keras)$", file)
        assert not file.startswith(("demo/dvc.lock", "demo/reports/"))  # they differ by machine
        assert (ROOT / file).stat().st_size < 1_000_000, file


def test_the_readmes_tables_are_those_of_the_metrics_files() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, table in TABLES.items():
        between = readme.split(START.format(name=name))[1].split(END.format(name=name))[0]
        assert between.strip() == table(ROOT)
