"""Which changed files judge pull requests, and which kept results changed that none judges.

The former are the gate with all that it imports, CI, settings.

The code is followed by its imports, so that no list has to be kept up to date. Of the rest, a file
counts unless it is known to hold results, documents or code that is judged.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import malaria
from malaria.paths import AUDIT, EXPERIMENTS, LOCK, PARAMS, PIPELINE, PIPELINES, SERIES
from malaria.pipeline.git import changed_files, run_git
from malaria.pipeline.stages import place

CHECKOUT = Path(malaria.__file__).resolve().parents[1]
COMMANDS = "malaria/cli/"
STARTS = ("malaria/__main__.py",)
JUDGES = ("malaria/cli/gate.py", "malaria/cli/verify.py")  # of the commands, those that judge
# What cannot change a verdict on anything but itself.
FOLDERS = (
    *(".devcontainer", ".vscode", "benchmarks", "docs", "experiments", "reports", "scripts"),
    *("stages", "tests"),
)
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *(LOCK, PARAMS),  # changed rules of the gate are named by their keys
)
KEPT = (EXPERIMENTS, SERIES, AUDIT)
# In any folder, also one of results, Git or DVC heed them.
EVERYWHERE = (".gitattributes", ".gitignore", ".dvcignore", PIPELINE)
# In the folder of a pipeline: what says which files make up a result.
SETTINGS = (".dvc", "malaria", "stages")


def changed_judges(root: Path, base: str, head: str | None) -> list[str]:
    """Return the files by which pull requests are judged, of those that differ, sorted.

    `base` and `head` are revisions; None is the work tree.
    """
    return [path for path in changed_files(root, base, head) if is_judge(path)]


def changed_kept(root: Path, base: str, head: str | None) -> list[str]:
    """Return the kept results of the base that a pull request changes or removes, sorted.

    They are experiments, each by its folder, and files of series and audits. The gate judges a
    pipeline's own results alone, so these are only named. Arguments are as in `changed_judges`.
    """
    found = set()
    options = ("--name-only", "-z", "--no-renames", "--diff-filter=a")  # all but added files
    revisions = (base,) if head is None else (base, head)
    listed = run_git(root, "diff", *options, *revisions).decode(errors="replace")
    for path in listed.split("\0"):
        for top in (place(folder, kept) for folder in PIPELINES for kept in KEPT):
            name, _, _ = path.removeprefix(f"{top}/").partition("/")
            if path.startswith(f"{top}/"):
                found.add(f"{top}/{name}")
    return sorted(found)


def is_judge(path: str) -> bool:
    """Return whether a file of the repository, there or not, has a say in what the gate says."""
    top, _, below = path.partition("/")
    if PurePosixPath(path).name in EVERYWHERE or path.endswith(".dvc"):
        return True
    if not below:
        return top not in FILES
    if top in PIPELINES:
        return below.partition("/")[0] in SETTINGS
    if top != "malaria":
        return top not in FOLDERS
    code, folders = judging_code(), PurePosixPath(path).parents[:-1]
    if path.endswith(".py"):
        # A package goes before the module of its name.
        return path in code or any(f"{folder}.py" in code for folder in folders)
    # A template; or a compiled module, which goes before the other one.
    return len(folders) == 1 or any(f"{folder}/__init__.py" in code for folder in folders[:-1])


@cache
def judging_code() -> frozenset[str]:
    """Return the files of malaria/, in this checkout, that run when a pull request is judged."""
    found: set[str] = set()
    waiting = set(STARTS)
    while waiting:
        path = waiting.pop()
        found.add(path)
        tree = ast.parse((CHECKOUT / path).read_bytes())
        is_whole = not path.startswith(COMMANDS) or path in JUDGES
        names = set(_imported(tree.body if not is_whole else ast.walk(tree)))
        waiting |= {file for name in names for file in _files_of(name)} - found
    return frozenset(found)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Give the names that import statements among the nodes may mean."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str) -> Iterator[str]:
    """Give the files of this checkout that an import of a name runs."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if parts[0] == "malaria" and (CHECKOUT / file).is_file():
                yield file
