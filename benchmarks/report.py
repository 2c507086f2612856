"""What every benchmark reports: its table, the machine, the date, and its section in README.md."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from malaria.core.files import write_file

README = Path(__file__).with_name("README.md")


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return `median (min-max)` of repeated measurements."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, numbers as they are given."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def verdict(ratio: float, limit: float, at_least: bool) -> str:
    """Return the ratio beside its claim, and whether it holds."""
    holds = ratio >= limit if at_least else ratio < limit
    claim = f"at least {limit:g}" if at_least else f"under {limit:g}"
    return f"{ratio:.3g} (claim: {claim}, {'holds' if holds else 'does not hold'})"


def machine(packages: Sequence[str]) -> str:
    """Return CPU model, cores, memory, system and versions; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{package} {version(package)}" for package in packages]
    parts = [
        f"{_cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        _system(),
        f"Python {platform.python_version()}",
        *versions,
    ]
    return "; ".join(parts)


def publish(name: str, body: str, packages: Sequence[str], write: bool) -> None:
    """Print the result, and with `write` put it into the section `name` of README.md."""
    now = datetime.now(UTC)
    section = f"{body}\n\nMeasured {now:%Y-%m-%d} on: {machine(packages)}."
    print(section)
    if not write:
        return
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    write_file(README, f"{before}{start}\n\n{section}\n\n{end}{after}")


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:  # not Linux
        return platform.system()


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()
