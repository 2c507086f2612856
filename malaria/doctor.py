"""`malaria doctor`: all checks of what commonly breaks, side by side."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from malaria.checks.data import check_disk, check_dvc, check_pinned
from malaria.checks.finding import Finding, one_line
from malaria.checks.machine import check_git, check_gpu, check_leftovers, check_python
from malaria.checks.store import check_store

Check = Callable[[Path], Iterable[Finding]]
CHECKS: dict[str, Check] = {
    "Python": check_python,
    "Git": check_git,
    "GPU": check_gpu,
    "disk": check_disk,
    "pinned files": check_pinned,
    "DVC": check_dvc,
    "MLflow store": check_store,
    "left behind": check_leftovers,
}


def examine(root: Path) -> Iterator[Finding]:
    """Give the findings on the repository at `root`, in the order of the checks.

    They run at once, as most of them wait for other programs. One that raises is a finding too.
    """
    with ThreadPoolExecutor(max_workers=len(CHECKS)) as pool:
        asked = [pool.submit(_findings, name, check, root) for name, check in CHECKS.items()]
        for found in asked:
            yield from found.result()


def _findings(name: str, check: Check, root: Path) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(root))
    except Exception as error:  # what is broken may break in any way
        found.append(Finding("fail", name, f"cannot be checked ({one_line(error)})", "mend that"))
    return found
