"""The rules of the layout, read off the files: who imports whom, what depends on what."""

import ast
import importlib.metadata
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from malaria import paths
from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.models.base.system import find_system, names
from malaria.params import SECTIONS, load_study
from malaria.pipeline.stages import Stage, code_of, read_stages, values_of
from malaria.studies.results import REMEDY, table_faults

ROOT = Path(__file__).resolve().parents[1]
STAGES = [
    "fetch",
    "split",
    "preprocess",
    "explore",
    "controls",
    "train",
    "predict",
    "evaluate",
    "explain",
    "report",
]
REPORT = "report"
# What lies in malaria/, from the bottom up. A package imports only what stands in the lines above
# its own in this list, or itself. A new package gets a line here, and stages that use it name it in
# dvc.yaml.
ORDER = [
    ["errors", "paths", "quiet_keras"],
    ["core"],
    ["__init__", "drawing"],  # the package's own file fixes the environment
    ["data", "models", "pipeline"],
    ["training"],
    ["exploration", "prediction"],
    ["evaluation"],
    ["explanation"],
    ["report"],
    ["gate"],
    ["params"],
    ["tracking", "studies"],
    ["compare", "registry", "doctor"],
    ["cli"],
    ["__main__"],
]
# An edit of these cannot change an output of a stage, so no stage depends on them: messages, names
# of files (held against dvc.yaml below), and quiet starts.
NO_DEP = {"errors", "paths", "quiet_keras"}
LONGEST = 300  # lines of a file
SYSTEMS_TABLE = "docs/training.md"


def part_of(module: str) -> str:
    """Return what of malaria/ a module belongs to: a package, or a file at the top."""
    return module.split(".")[1] if "." in module else ""


@cache
def imported(path: str) -> frozenset[str]:
    """Return the modules that a file imports, also inside functions, but not for types alone."""
    found = set()
    for node in _run(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Give the nodes of a tree, without blocks that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _run(node)


def closure(path: str) -> set[str]:
    """Return the files of malaria/ that run when `path` does, and itself."""
    found: set[str] = set()
    waiting = {path}
    while waiting:
        file = waiting.pop()
        found.add(file)
        candidates = {f"{name.replace('.', '/')}.py" for name in imported(file)}
        waiting |= {one for one in candidates if one.startswith("malaria/")} - found
        waiting = {one for one in waiting if (ROOT / one).is_file()}
    return found


def dep_of(file: str) -> str:
    """Return what a stage names for a file of malaria/: its folder, or a file at the top."""
    parts = file.split("/")
    return "/".join(parts[:3] if parts[1] == "models" else parts[:2])


def stages_of_root() -> dict[str, Stage]:
    return read_stages(ROOT, load_study(ROOT / paths.PARAMS))


def code_deps(stage: str) -> set[str]:
    """Return the code that can change a stage's outputs; the report shows that of all stages."""
    files = closure(f"stages/{stage}.py") - {f"stages/{stage}.py"}
    deps = {dep_of(file) for file in files if part_of(file.replace("/", ".")) not in NO_DEP}
    deps = {dep for dep in deps if dep.removesuffix(".py").split("/")[1] not in NO_DEP}
    if stage == REPORT:
        others = set().union(*(code_deps(other) for other in STAGES if other != REPORT))
        systems = {dep for dep in others if "/systems/" in dep}
        return deps | others - systems - {f"stages/{other}.py" for other in STAGES} | {"stages"}
    if "malaria/training" in deps and stage in ("explore", "train"):
        deps.add("malaria/models/systems/vgg19_finetuned.py")  # the root's train.model
    return deps | {f"stages/{stage}.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_folders_of_the_code(stage: str) -> None:
    stages = stages_of_root()
    named = set(code_of(stages[stage], stages.values()))
    needed = code_deps(stage)
    assert named == needed, (
        f"in dvc.yaml, to the deps of `{stage}` add {sorted(needed - named)} and take away "
        f"{sorted(named - needed)}; then `.ci/run copies`"
    )


def test_a_package_imports_only_what_stands_below_it() -> None:
    level = {name: number for number, line in enumerate(ORDER) for name in line}
    for path in ROOT.glob("malaria/*"):
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert path.stem in level, f"give malaria/{path.name} a line in ORDER (in this file)"
    for path in ROOT.glob("malaria/**/*.py"):
        file = path.relative_to(ROOT).as_posix()
        own = part_of(file.removesuffix(".py").replace("/", "."))
        for name in imported(file):
            other = part_of(name) if name.startswith("malaria.") else ""
            if other in level and own != other:
                assert level[other] < level[own], (
                    f"{file} imports {name}, but in ORDER {other!r} does not stand above {own!r}: "
                    "move what both need down into one of the packages above them"
                )


def test_packages_run_nothing_on_import() -> None:
    for path in ROOT.glob("malaria/*/**/__init__.py"):
        body = ast.parse(path.read_text()).body
        # It is no dep of a stage.
        assert [type(node) for node in body] == [ast.Expr], f"leave only the docstring in {path}"


def test_who_knows_dvc_mlflow_and_the_backends() -> None:
    for path in ROOT.glob("malaria/**/*.py"):
        file = path.relative_to(ROOT).as_posix()
        top = {name.split(".")[0] for name in imported(file)}
        assert not top & {"stages", "dvc"}, file
        if not file.startswith(("malaria/tracking/", "malaria/registry/", "malaria/doctor/")):
            assert "mlflow" not in top, file
        if file not in ("malaria/training/backend.py", "malaria/explanation/gradients.py"):
            assert not top & {"tensorflow", "jax"}, file
    for stage in STAGES:
        assert not imported(f"stages/{stage}.py") & {f"stages.{other}" for other in STAGES}


def test_a_system_imports_only_what_systems_share() -> None:
    for path in ROOT.glob("malaria/models/systems/*.py"):
        for name in imported(path.relative_to(ROOT).as_posix()):
            assert not name.startswith("malaria.models.systems"), (
                f"{path} imports {name}; put what systems share into malaria/models/base"
            )
    for path in [*ROOT.glob("malaria/**/*.py"), *ROOT.glob("stages/*.py")]:
        named = imported(path.relative_to(ROOT).as_posix())
        assert not any(name.startswith("malaria.models.systems") for name in named), path


def test_every_system_has_a_recipe_a_source_and_a_place_in_the_docs() -> None:
    text = (ROOT / SYSTEMS_TABLE).read_text()
    for name in names():
        system = find_system(name)
        assert system.source, f"say in malaria/models/systems/{name}.py where it was published"
        assert system.recipe.epochs, f"give the recipe of malaria/models/systems/{name}.py epochs"
        assert f"`{name}`" in text, f"name `{name}` in the table of systems in {SYSTEMS_TABLE}"


def test_no_file_is_too_long() -> None:
    for folder in ("malaria", "stages", "scripts", "tests", "benchmarks", ".ci"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= LONGEST, f"{path} has {lines} lines, {LONGEST} are allowed: divide it"
    assert len((ROOT / paths.PIPELINE).read_text().splitlines()) < 270


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    packages = {path.parent.name for path in ROOT.glob("malaria/*/__init__.py")}
    folders = {path.parent.name for path in ROOT.glob("tests/*/__init__.py")}
    other = folders - packages - {"end_to_end", "scripts"}
    assert not other, f"tests/ has {other}; a folder there has the name of a package of malaria/"


def test_every_key_but_mlflows_and_the_gates_is_used_and_the_report_shows_it() -> None:
    stages = stages_of_root()
    keys = {f"{model.section}.{key}" for model in SECTIONS for key in model.model_fields}
    keys = {key for key in keys if not key.startswith(("gate.", "mlflow."))}
    used = [key for name in STAGES if name != REPORT for key in stages[name].params]
    for key in keys:
        for named in (used, stages[REPORT].params):
            assert any(f"{key}.".startswith(f"{name}.") for name in named), (
                f"name {key} (or its section) in `params` of the stage of dvc.yaml that reads it "
                "and of `report`; then `.ci/run copies`"
            )


@pytest.mark.parametrize("folder", paths.PIPELINES)
def test_no_key_has_a_name_that_dvcs_run_cache_overlooks(folder: str) -> None:
    overlooked = {"size", "nfiles"}  # dvc.stage.cache leaves them out of its key, at any depth
    params = load_study(ROOT / folder / paths.PARAMS)
    for stage in read_stages(ROOT / folder, params).values():
        for key, value in values_of(stage, params).items():
            below = flatten({key: value})
            parts = {part for name in below for part in name.removeprefix(key).split(".")}
            assert not ({key} | parts) & overlooked


@pytest.mark.parametrize("folder", ["demo", "pilot"])
@pytest.mark.parametrize("name", [paths.PIPELINE, ".dvcignore"])
def test_the_pipeline_is_the_same_file_everywhere(folder: str, name: str) -> None:
    assert (ROOT / folder / name).read_bytes() == (ROOT / name).read_bytes(), "`.ci/run copies`"


@pytest.mark.parametrize("folder", ["demo", "pilot"])
def test_the_code_is_linked_into_every_pipeline(folder: str) -> None:
    for name in ("malaria", "stages"):
        assert (ROOT / folder / name).readlink() == Path("..") / name


def test_every_stage_and_plot_says_what_it_is() -> None:
    pipeline = read_yaml(ROOT / paths.PIPELINE)
    assert list(pipeline["stages"]) == STAGES, "dvc.yaml and STAGES (in this file) differ"
    for name, stage in pipeline["stages"].items():
        assert stage.get("desc"), f"give the stage {name} a `desc` in dvc.yaml"
    titles = {name for plot in pipeline["plots"] for name in plot}
    assert {"loss", "roc", "precision_recall", "calibration", "confusion_test"} <= titles


def test_every_path_of_a_pipeline_is_one_of_dvc_yaml() -> None:
    outs = {out for stage in stages_of_root().values() for out in stage.outs}
    ours = {value for name, value in vars(paths).items() if name.isupper() and "/" in value}
    for path in ours:
        assert any(f"{path}/".startswith(f"{out}/") for out in outs), (
            f"malaria/paths.py has {path}, which is in no output of a stage of dvc.yaml"
        )
    assert outs <= ours, f"give the outputs {outs - ours} of dvc.yaml a name in malaria/paths.py"


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
    assert not unpinned, f"pin in pyproject.toml (constraint-dependencies): {unpinned}"


def test_nothing_private_or_heavy_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for file in listed:
        assert not re.search(r"(^|/)uv\.lock$|mlflow\.db|mlartifacts/|\.(h5|zip|npy|keras)$", file)
        assert not file.startswith(("demo/dvc.lock", "demo/reports/"))  # they differ by machine
        assert (ROOT / file).stat().st_size < 1_000_000, file


def test_the_tables_are_those_of_the_metrics_files() -> None:
    faults = [fault for found in table_faults(ROOT).values() for fault in found]
    assert not faults, f"{'; '.join(faults)}; run `{REMEDY}`"
