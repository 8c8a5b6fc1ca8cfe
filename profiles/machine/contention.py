"""Who else used the processor: other processes, other virtual machines, and the quota of a control group."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import host
from .text_files import counts, read_text

_TICKS_PER_SECOND = 100  # USER_HZ, in which /proc/stat counts on every Linux of x86 and ARM (proc(5))


@dataclass(frozen=True, kw_only=True)
class Use:
    """Processor seconds since the system or the process began, of the processors that this process may use.

    `stolen_seconds` are those that a hypervisor gave to others; `throttled_seconds` those for which a control group's
    quota held this process, its threads together; None where the system does not count, or not for programs (Android).
    """

    busy_seconds: float | None
    own_seconds: float
    stolen_seconds: float | None = None
    throttled_seconds: float | None = None
    throttled_periods: int | None = None


def read(*, root: Path = host.ROOT, allowed: Iterable[int] | None = None) -> Use:
    """Read the counters; children of this process that have ended count as its own."""
    own = time.process_time() + sum(os.times()[2:4])
    stat = read_text(root / "proc/stat")
    busy, stolen = _from_stat(stat, host.allowed_cpus() if allowed is None else allowed) if stat else _from_psutil()
    seconds, periods = _throttled(root)
    return Use(
        busy_seconds=busy,
        own_seconds=own,
        stolen_seconds=stolen,
        throttled_seconds=seconds,
        throttled_periods=periods,
    )


def others_cores(before: Use, after: Use, *, seconds: float) -> float | None:
    """How many cores other processes had on average; never negative, though the counters tick apart."""
    if before.busy_seconds is None or after.busy_seconds is None:
        return None
    busy, own = after.busy_seconds - before.busy_seconds, after.own_seconds - before.own_seconds
    return max(0.0, busy - own) / seconds


def _from_stat(text: str, cpus: Iterable[int]) -> tuple[float, float]:
    """Busy and stolen seconds from the lines "cpuN user nice system idle iowait irq softirq steal ..."."""
    wanted, busy, stolen = {f"cpu{cpu}" for cpu in cpus}, 0, 0
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in wanted and len(words) > 8:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(count) for count in words[1:9])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return busy / _TICKS_PER_SECOND, stolen / _TICKS_PER_SECOND


def _from_psutil() -> tuple[float | None, None]:
    try:
        times = psutil.cpu_times()
    except OSError:
        return None, None
    return times.user + times.system + getattr(times, "nice", 0.0), None


def _throttled(root: Path) -> tuple[float | None, int | None]:
    """Seconds and periods, of this process's group and all above it.

    Source: kernel documentation, scheduler/sched-bwc.rst (throttled_time in ns) and admin-guide/cgroup-v2.rst
    (throttled_usec).
    """
    seconds, periods = list[float](), list[int]()
    for folder in host.cgroup_folders(root=root):
        stat = counts(folder / "cpu.stat")
        if "nr_throttled" in stat:
            periods.append(stat["nr_throttled"])
            seconds.append(stat.get("throttled_usec", 0) / 1e6 + stat.get("throttled_time", 0) / 1e9)
    return (sum(seconds), sum(periods)) if periods else (None, None)
