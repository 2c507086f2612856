"""The same `dvc.lock` from whatever copy of the set a clone finds; nothing is fetched twice."""

import hashlib
from pathlib import Path

import pytest

from benchmarks.checkout import change_params
from malaria.paths import ZIP
from tests.data.download_server import serving, whole
from tests.data.small_set import (
    CELLS,
    kaggle,
    of_patients,
    official,
    params,
    the_zip,
    write_any_zip,
    write_folder,
)

from .conftest import Checkout, NewCheckout

FEW = of_patients("C3", "C1")


def pinned(new_checkout: NewCheckout, folder: Path, url: str, download: str) -> Checkout:
    """Return a clone whose root pins the small set, and whose pilot two patients of it."""
    checkout = new_checkout("copies")
    sections = {
        ".": params(folder, url, download=download),
        "pilot": params(folder, url, FEW, patients="patients.txt", download=download),
    }
    for name, section in sections.items():
        values = {key: value or "none" for key, value in section.model_dump().items()}
        change_params(checkout.root / name / "params.yaml", {"fetch": values})
    (checkout.root / "pilot/patients.txt").write_text("C1\nC3\n")
    for place in (".", "pilot"):  # their locks are of the real set
        (checkout.root / place / "dvc.lock").unlink()
    checkout.commit("the small set")
    return checkout


def test_kaggles_zip_or_the_official_one_a_clone_has_the_same_lock(
    new_checkout: NewCheckout, tmp_path: Path
) -> None:
    write_any_zip(tmp_path / "official/any.zip", official())
    write_any_zip(tmp_path / "kaggle/archive.zip", kaggle())
    write_folder(tmp_path / "unpacked", CELLS)
    locks = {}
    for name in ("official", "kaggle", "unpacked"):
        clone = pinned(new_checkout, tmp_path, "http://127.0.0.1:9/", "0" * 64)
        clone.dvc("repro", "fetch", cwd=clone.root, MALARIA_MIRROR=str(tmp_path / name))
        assert (clone.root / ZIP).read_bytes() == the_zip(tmp_path)
        locks[name] = (clone.root / "dvc.lock").read_bytes()
    assert len(set(locks.values())) == 1


@pytest.mark.slow
def test_the_pilot_and_experiments_download_nothing_again(
    new_checkout: NewCheckout, tmp_path: Path
) -> None:
    body = write_any_zip(tmp_path / "a.zip", official()).read_bytes()
    sha256 = hashlib.sha256(body).hexdigest()
    with serving() as server:
        server.script = [whole(body)]
        clone = pinned(new_checkout, tmp_path, server.url, sha256)
        pilot = clone.root / "pilot"

        def run(*command: str, cwd: Path) -> str:
            env = {"NO_PROXY": "127.0.0.1", "MALARIA_MIRROR": ""}
            return clone.dvc(*command, "fetch", cwd=cwd, check=True, **env).stdout

        run("repro", cwd=clone.root)
        assert len(server.ranges) == 1
        # No lock is committed, so the checkout of the experiment has none, and runs the stage.
        for what in (clone.root / ZIP, clone.root / ".dvc/cache"):
            assert f"fetch: copied from {what}" in run("exp", "run", "--temp", cwd=clone.root)
            (clone.root / ZIP).unlink(missing_ok=True)
        run("repro", cwd=pilot)
        assert (pilot / ZIP).read_bytes() == the_zip(tmp_path, FEW)
        (pilot / "dvc.lock").unlink()
        assert f"fetch: copied from {pilot / ZIP}" in run("exp", "run", "--temp", cwd=pilot)
        assert len(server.ranges) == 1
