"""Memory that went to the disk and back: swap, pages that this process had to wait for, and what it fetched."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import host
from .text_files import counts

try:
    import resource
except ImportError:  # Windows, which counts no faults that wait for the disk
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Swap in use now, and counts since the system or the process began; None where the system does not count.

    `swapped_bytes` went out or came in, of all processes; `major_faults` are this process's accesses that waited for
    the disk, `fetched_bytes` what came from there on its account: what is in the page cache does not.
    """

    swap_used_bytes: int
    swapped_bytes: int | None = None
    major_faults: int | None = None
    fetched_bytes: int | None = None


def read(*, root: Path = host.ROOT) -> Paging:
    """Read /proc on Linux, psutil elsewhere."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt if resource else None
    moved, sizes = counts(root / "proc/vmstat"), counts(root / "proc/meminfo")
    if "SwapTotal" not in sizes:
        return Paging(swap_used_bytes=psutil.swap_memory().used, major_faults=faults)
    pages = moved["pswpin"] + moved["pswpout"] if "pswpin" in moved and "pswpout" in moved else None
    return Paging(
        swap_used_bytes=1024 * (sizes["SwapTotal"] - sizes["SwapFree"]),
        swapped_bytes=None if pages is None else mmap.PAGESIZE * pages,
        major_faults=faults,
        fetched_bytes=fetched_bytes(root=root),
    )


def fetched_bytes(*, root: Path = host.ROOT) -> int | None:
    """Bytes that this process made the disk read, since it began; None where the system does not count.

    Source: proc(5), /proc/PID/io, read_bytes.
    """
    return counts(root / "proc/self/io").get("read_bytes")
