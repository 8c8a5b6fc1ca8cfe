"""How fast threads read memory: one number a count of threads, in about two seconds for all of them.

Each thread or-s its share of a buffer of 64-bit integers into one. Of numpy's reductions that is the cheapest a byte:
one instruction for eight of them even where no vector unit helps (seen on one core of an EPYC: 16.5 GB/s, as many as
int64 maximum and float64 sum, which need vectors; int32 sum 4.2, uint8 sum 1.8). numpy lets go of Python's lock.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..machine.text_files import read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

ENTRY = f"{__name__}:measure"
SECONDS = 2.0
_LEAST_BYTES, _CACHES = 64 << 20, 4  # and so many times the last-level cache
_OF_FREE_MEMORY = 0.25
_FEWEST_PASSES = 3
_EACH_UP_TO = 8  # threads: above, every doubling and the last


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> list[list[float]]:
    """[[threads, bytes per second]] for each of `job["threads"]`, of a buffer of `job["n_bytes"]`: the best pass.

    A pass that others disturb is slower, none is faster than memory is, so the best one counts (as in STREAM).
    """
    import numpy as np

    words = np.ones(job["n_bytes"] // 8, np.uint64)
    found = []
    for n in job["threads"]:
        progress(f"memory, {n} thread{'s'[: n > 1]}")
        best = _best_pass(np.array_split(words, n), job["seconds"] / len(job["threads"]))
        found.append([n, words.nbytes / best])
    return found


def job(n_cores: int, *, free_bytes: int, cache_bytes: int) -> dict[str, Any]:
    """What `measure` is to do: counts of threads up to the cores, and a buffer that no cache holds.

    On a board whose memory is nearly full the buffer is smaller than that, and as large as may be.
    """
    n_bytes = min(max(_LEAST_BYTES, _CACHES * cache_bytes), int(_OF_FREE_MEMORY * free_bytes))
    return {"threads": counts(n_cores), "n_bytes": n_bytes, "seconds": SECONDS}


def counts(n_cores: int) -> list[int]:
    """1 to 8 threads each, then doubled, and all cores: 12 cores are [1, ..., 8, 12]."""
    doubled = [1 << k for k in range(3, n_cores.bit_length())]
    return sorted({*range(1, min(n_cores, _EACH_UP_TO) + 1), *doubled, n_cores})


def cache_bytes(*, root: Path) -> int:
    """The largest cache that /sys names for any processor ("32768K"), 0 where it names none."""
    sizes = (read_text(file) for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/cache/index*/size"))
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    known = (size for size in sizes if size[:-1].isdigit() and size[-1] in units)
    return max((int(size[:-1]) * units[size[-1]] for size in known), default=0)


def _best_pass(parts: "list[Words]", seconds: float) -> float:
    """Seconds of the fastest pass over all parts, each by a thread of its own; passes go on for `seconds`."""
    best, n_passes, end = float("inf"), 0, time.perf_counter() + seconds
    while n_passes < _FEWEST_PASSES or time.perf_counter() < end:
        best, n_passes = min(best, _pass(parts)), n_passes + 1
    return best


def _pass(parts: "list[Words]") -> float:
    """Seconds from when the first thread begins to when the last is done, by the threads' own clocks."""
    import numpy as np

    gate, spans = threading.Barrier(len(parts)), list[tuple[float, float]]()

    def read(part: "Words") -> None:
        gate.wait()
        started = time.perf_counter()
        np.bitwise_or.reduce(part)
        spans.append((started, time.perf_counter()))

    threads = [threading.Thread(target=read, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)
