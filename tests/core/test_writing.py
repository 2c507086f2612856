"""Files that are written whole or not at all, and that nothing writes in another way."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from malaria.core.files import DRAFT, replacing, write_file
from malaria.errors import MalariaError
from tests.conftest import REPO, little_space

KILLED = """
import os, signal, sys
from pathlib import Path
from malaria.core.files import replacing
with replacing(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
# What may write to a file's final name, and why a half-written one is never taken for a whole.
DIRECT = {
    "malaria/core/files.py": "writes the drafts",
    "malaria/data/download.py": "sets wrong bytes aside",
    "malaria/data/layout.py": "into the draft that it is given, or into memory",
    "malaria/data/obtain.py": "into a draft",
    "malaria/data/transfer.py": "the part of a download, which only its hash makes a file",
    "malaria/data/images.py": "an output that counts only once DVC has it in the lock; comment",
    "malaria/drawing.py": "into a draft",
    "malaria/gate/base_model.py": "into a temporary folder",
    "malaria/gate/locked.py": "into a temporary folder",
    "malaria/gate/retrain.py": "into a temporary checkout",
    "malaria/gate/tree.py": "into a temporary checkout",
    "malaria/gate/verify.py": "into a temporary folder",
    "malaria/data/synthetic.py": "into the draft that stages/fetch.py gives",
    "malaria/models/base/saved.py": "into a draft",
    "malaria/pipeline/cache.py": "into a temporary folder",
    "malaria/report/page.py": "into memory",
    "malaria/registry/crops.py": "into a temporary folder",
    "malaria/registry/register.py": "into a temporary folder",
    "malaria/registry/versions.py": "into a temporary folder",
    "malaria/studies/audit.py": "into memory",
    "malaria/tracking/write.py": "into a temporary folder",
    "malaria/training/checkpoint.py": "renames what is written beside it",
    "malaria/training/train.py": "into a temporary folder",
}
WRITERS = {"write_text", "write_bytes", "to_csv", "savefig", "ZipFile", "open", "open_memmap"}
WRITERS |= {"copyfile", "savez", "save", "tofile"}
RENAMES = {"os.replace", "os.rename", "shutil.move"}


def writes_directly(tree: ast.AST) -> set[str]:
    """Return the calls in a file that write to a path they are given."""
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        last = name.rpartition(".")[2]
        modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
        modes += [one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)]
        is_text = last == "to_csv" and not call.args  # returns it
        is_read = last in ("open", "ZipFile", "open_memmap") and not any(
            isinstance(mode, str) and re.fullmatch("[rwax+bt]*[wax+][bt]*", mode) for mode in modes
        )
        if name == "save":  # a function of that module
            continue
        if name in RENAMES or (last in WRITERS and not is_text and not is_read):
            found.add(name)
    return found


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_file(path, "a \N{GREEK SMALL LETTER MU}\n")
    assert path.read_bytes() == b"a \xce\xbc\n"
    path.chmod(0o640)
    with replacing(path) as draft:
        draft.write_bytes(b"new")
        assert draft.name == path.name
        assert path.read_bytes() == b"a \xce\xbc\n"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(TypeError), replacing(path) as draft:
        draft.write_bytes(b"half" + draft.write_bytes(b"half"))  # type: ignore[operator]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("all")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "all"
    (left,) = (file for file in tmp_path.iterdir() if file != path)
    assert left.name.startswith(DRAFT)
    ignored = subprocess.run(["git", "check-ignore", f"pilot/audit/{left.name}/"], cwd=REPO)
    assert ignored.returncode == 0


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("all")
    with little_space(1000), pytest.raises(MalariaError) as caught:
        write_file(path, bytes(2000))
    said = f"{path} cannot be written (File too large), and is as it was; fix that and run the same"
    assert str(caught.value).startswith(said)
    assert path.read_text() == "all"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match=r"gone/list\.csv cannot be written \(No such file or d"):
        write_file(tmp_path / "gone/list.csv", "")


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "list.csv").symlink_to("other")
    write_file(tmp_path / "list.csv", "new")
    assert (tmp_path / "other").read_text() == "other"
    assert (tmp_path / "list.csv").read_text() == "new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "new")
    assert os.read(reader, 9) == b"new"
    os.close(reader)


def test_no_file_is_written_in_place() -> None:
    found = {
        path.relative_to(REPO).as_posix(): writes_directly(ast.parse(path.read_text()))
        for folder in ("malaria", "stages", "benchmarks/report.py", "benchmarks/gate_runs.py")
        for path in ([REPO / folder] if folder.endswith(".py") else (REPO / folder).rglob("*.py"))
    }
    direct = {path: calls for path, calls in found.items() if calls}
    unknown = {path: calls for path, calls in direct.items() if path not in DIRECT}
    assert not unknown, "use malaria.core.files.write_file or replacing"


def test_the_search_sees_what_it_should() -> None:
    for line in ("path.write_text(x)", "open(p, 'w')", "t.to_csv(path)", "os.replace(a, b)"):
        assert writes_directly(ast.parse(line)), line
    for line in ("open(p)", "p.open(newline='')", "t.to_csv(index=False)", "ZipFile(p)"):
        assert not writes_directly(ast.parse(line)), line
