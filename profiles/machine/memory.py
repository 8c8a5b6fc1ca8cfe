"""Memory of the calling process, in bytes. A child reads its own: a parent's view is floored by its own size.

readings = [memory.read(), ...]                        # once loaded, and after each repetition
touched = memory.touched_bytes(files, one_more_pass)   # a prompt and an answer, outside of what is timed
samples = memory.samples(readings, touched=touched)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from .text_files import read_text

STATUS_FILE = Path("/proc/self/status")
ROLLUP_FILE = Path("/proc/self/smaps_rollup")
MAPS_FILE = Path("/proc/self/smaps")
CLEAR_FILE = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory now, and the peak since the process began; None where the system does not tell.

    Anonymous memory, with what processes share of it, is what the kernel cannot take back; file-backed pages it can.
    `shared_bytes` are those of either kind that other processes have mapped as well, such as libraries.
    """

    peak_rss_bytes: int
    rss_bytes: int | None = None
    anonymous_bytes: int | None
    file_backed_bytes: int | None
    shared_bytes: int | None = None
    swapped_bytes: int | None = None


def read() -> Memory:
    """Read this process's memory: /proc on Linux, else what psutil knows of macOS and Windows.

    There, memory of this process alone stands for anonymous memory and the rest of what is resident for files: the
    nearest that those systems tell. How many pages are shared takes the kernel about 1 ms for each 100 MB.
    """
    if STATUS_FILE.exists():
        return replace(parse_status(read_text(STATUS_FILE)), shared_bytes=parse_rollup(read_text(ROLLUP_FILE)))
    info = psutil.Process().memory_full_info()
    return Memory(
        peak_rss_bytes=int(getattr(info, "peak_wset", info.rss)),
        rss_bytes=int(info.rss),
        anonymous_bytes=int(info.uss),
        file_backed_bytes=max(0, int(info.rss - info.uss)),
    )


def parse_status(text: str) -> Memory:
    """Memory from the text of /proc/PID/status (proc(5): VmHWM, RssAnon, RssFile, RssShmem, in kB of 1024 bytes).

    Kernels before 4.5 do not split the size, and sandboxes such as gVisor's tell only what is resident now.
    """
    kib = _kib(text)
    anonymous = kib["RssAnon"] + kib.get("RssShmem", 0) if "RssAnon" in kib else None
    return Memory(
        peak_rss_bytes=1024 * (kib["VmHWM"] if "VmHWM" in kib else kib["VmRSS"]),
        rss_bytes=1024 * kib["VmRSS"],
        anonymous_bytes=None if anonymous is None else 1024 * anonymous,
        file_backed_bytes=1024 * kib["RssFile"] if "RssFile" in kib else None,
        swapped_bytes=1024 * kib["VmSwap"] if "VmSwap" in kib else None,
    )


def parse_rollup(text: str) -> int | None:
    """Bytes that others have mapped, too, from /proc/PID/smaps_rollup (Linux 4.14); None from an empty text."""
    kib = _kib(text)
    return 1024 * (kib["Shared_Clean"] + kib.get("Shared_Dirty", 0)) if "Shared_Clean" in kib else None


def touched_bytes(files: Sequence[Path], work: Callable[[], object]) -> int | None:
    """Do `work`; returns bytes of the mapped files' pages that it touched.

    None where the kernel does not tell. Writing 1 to /proc/self/clear_refs forgets which pages were touched, and
    "Referenced" in /proc/self/smaps counts those touched since (proc(5); kernel documentation, filesystems/proc.rst).
    Pages are as the kernel maps them: of a huge one, 2 MB are touched at once. A few MB that the translation cache of
    the processor still knows may be missed.
    """
    try:
        CLEAR_FILE.write_text("1")
    except OSError:
        work()
        return None
    work()
    return parse_touched(read_text(MAPS_FILE), files)


def parse_touched(text: str, files: Sequence[Path]) -> int | None:
    """Touched bytes of mappings of these files, from the text of /proc/PID/smaps."""
    if "Referenced:" not in text:
        return None
    total, wanted = 0, {str(file.resolve()) for file in files}
    for mapping in _mappings(text.splitlines()):
        words = mapping[0].split(maxsplit=5)  # addresses, permissions, offset, device, inode, path
        if len(words) == 6 and words[5] in wanted:
            total += _kib("\n".join(mapping[1:]))["Referenced"]
    return 1024 * total


def largest(readings: list[Memory]) -> Memory:
    """The largest of several readings, figure by figure."""
    return Memory(
        peak_rss_bytes=max(reading.peak_rss_bytes for reading in readings),
        rss_bytes=_most(reading.rss_bytes for reading in readings),
        anonymous_bytes=_most(reading.anonymous_bytes for reading in readings),
        file_backed_bytes=_most(reading.file_backed_bytes for reading in readings),
        shared_bytes=_most(reading.shared_bytes for reading in readings),
        swapped_bytes=_most(reading.swapped_bytes for reading in readings),
    )


def must_fit_bytes(readings: list[Memory], *, touched: int | None) -> int:
    """What must be free on a device so that this process runs without paging: one number.

    Anonymous memory at its peak, and what of it is in swap already, because the kernel cannot take it back: cache,
    buffers, weights that were read or repacked. Then the pages of the model's files that a prompt and an answer touch,
    because what each token reads must stay although the kernel could take it. Not in it are weights that were mapped,
    copied and never read again; rows of the vocabulary that no token asked for (a new word waits for the disk once);
    and libraries, of which a pass was seen to use 1 to 8 MB.

    Where touched pages are not told (`touched` is None), all resident pages of files count, or the peak of the resident
    size: more than is needed. Between readings anonymous memory may have had a peak: the whole's less what files had.
    """
    most = largest(readings)
    if most.anonymous_bytes is None or most.file_backed_bytes is None:
        return most.peak_rss_bytes
    anonymous = max(most.anonymous_bytes, most.peak_rss_bytes - most.file_backed_bytes)
    return anonymous + (most.swapped_bytes or 0) + (most.file_backed_bytes if touched is None else touched)


def samples(readings: list[Memory], *, touched: int | None = None) -> dict[str, list[float]]:
    """Metric -> its sample, for what the system tells; the last reading is the steady one."""
    most, steady = largest(readings), readings[-1]
    found = {
        "peak_rss_bytes": most.peak_rss_bytes,
        "peak_anonymous_bytes": most.anonymous_bytes,
        "peak_file_backed_bytes": most.file_backed_bytes,
        "steady_rss_bytes": steady.rss_bytes,
        "steady_anonymous_bytes": steady.anonymous_bytes,
        "steady_file_backed_bytes": steady.file_backed_bytes,
        "shared_bytes": steady.shared_bytes,
        "must_fit_bytes": must_fit_bytes(readings, touched=touched),
    }
    return {metric: [float(value)] for metric, value in found.items() if value is not None}


def _mappings(lines: list[str]) -> Iterable[list[str]]:
    """Each mapping of smaps: the line with its addresses, then its figures."""
    starts = [i for i, line in enumerate(lines) if "-" in line.split(" ", 1)[0]]
    return (lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True))


def _kib(text: str) -> Mapping[str, int]:
    fields = (line.split(":", 1) for line in text.splitlines() if ":" in line and line.endswith("kB"))
    return {key: int(value.split()[0]) for key, value in fields if "-" not in key}


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
