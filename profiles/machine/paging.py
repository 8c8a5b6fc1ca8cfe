"""Memory that went to the disk and back: swap, and pages that this process had to wait for."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import host

try:
    import resource
except ImportError:  # Windows, which counts no faults that wait for the disk
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Swap in use now, and counts since the system or the process began; None where the system does not count.

    `swapped_bytes` went out or came in, of all processes; `major_faults` are this process's accesses that waited for
    the disk.
    """

    swap_used_bytes: int
    swapped_bytes: int | None = None
    major_faults: int | None = None


def read(*, root: Path = host.ROOT) -> Paging:
    """Read /proc on Linux, psutil elsewhere."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt if resource else None
    counts, sizes = _table(root / "proc/vmstat"), _table(root / "proc/meminfo")
    if "SwapTotal:" not in sizes:
        return Paging(swap_used_bytes=psutil.swap_memory().used, major_faults=faults)
    pages = counts["pswpin"] + counts["pswpout"] if "pswpin" in counts and "pswpout" in counts else None
    return Paging(
        swap_used_bytes=1024 * (sizes["SwapTotal:"] - sizes["SwapFree:"]),
        swapped_bytes=None if pages is None else mmap.PAGESIZE * pages,
        major_faults=faults,
    )


def _table(file: Path) -> dict[str, int]:
    """First words of lines and the numbers after them."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
