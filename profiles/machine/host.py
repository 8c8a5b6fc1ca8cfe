"""The machine this runs on: what affinity and control groups leave of it, and the facts recorded beside a measurement.

Linux tells most through /proc, /sys and /sys/fs/cgroup; every function that reads them takes their `root`, so that
recorded trees of other machines can be read. Where they are missing (macOS, Windows), psutil and platform answer.
"""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from . import cores, elsewhere
from .cores import Cores
from .text_files import counts, number, read_text

ROOT = Path("/")
#: the kernel's spelling (/proc/cpuinfo) -> ours, for what changes which kernels an engine can use
ISA_NAMES = {
    "sse4_2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "atomics": "atomics",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes "no limit" as the largest multiple of a page below 2**63


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What control groups allow: `cpus` in units of one processor, memory in bytes; None where nothing is limited.

    `memory_free_bytes` is what is left below the limit, counting files that the kernel can drop as free.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine as a process may use it; sizes in bytes, `physical_cores` those that its affinity mask allows."""

    cpu: str
    logical_cpus: int
    physical_cores: int
    limits: Limits
    total_bytes: int
    available_bytes: int
    isa: tuple[str, ...]
    cores: tuple[Cores, ...] = ()  # those that the affinity mask allows, by kind

    @property
    def threads(self) -> int:
        """Threads worth starting: allowed physical cores, and no more than the quota pays for."""
        return self._paid(self.physical_cores)

    @property
    def decode_threads(self) -> int:
        """Threads worth starting where each waits for all others: no small cores beside big ones."""
        return self._paid(min(cores.fast(self.cores) or self.physical_cores, self.physical_cores))

    def _paid(self, wanted: int) -> int:
        return max(1, min(wanted, wanted if self.limits.cpus is None else int(self.limits.cpus)))

    @property
    def memory_bytes(self) -> int:
        """Memory of the machine, or of the control group where that is smaller."""
        return min(self.total_bytes, self.limits.memory_bytes or self.total_bytes)

    @property
    def usable_bytes(self) -> int:
        """Memory that can be had now without pushing anything out, within the control group's limit."""
        free = self.limits.memory_free_bytes
        return min(self.available_bytes, self.memory_bytes, self.memory_bytes if free is None else free)


def machine() -> Machine:
    """Look at this machine; takes milliseconds."""
    cpuinfo, told = read_text(ROOT / "proc/cpuinfo"), elsewhere.told()
    allowed, memory = allowed_cpus(), psutil.virtual_memory()
    cpu = cpu_name(cpuinfo, root=ROOT) or elsewhere.cpu_name(told) or platform.processor() or platform.machine()
    n_cores = physical_cores(allowed, root=ROOT) or psutil.cpu_count(logical=False) or len(allowed)
    return Machine(
        cpu=cpu,
        logical_cpus=len(allowed),
        physical_cores=n_cores,
        limits=cgroup_limits(root=ROOT),
        total_bytes=memory.total,
        available_bytes=memory.available,
        isa=isa_flags(cpuinfo) or elsewhere.isa(told),
        cores=_kinds(allowed, cpuinfo, cpu=cpu, n_cores=n_cores) if cpuinfo else _untold(told, cpu, n_cores),
    )


def _kinds(allowed: list[int], cpuinfo: str, *, cpu: str, n_cores: int) -> tuple[Cores, ...]:
    """Linux's kinds; where /sys does not tell which processors share a core, the one kind has psutil's count."""
    found = cores.kinds(allowed, cpuinfo, name=cpu, root=ROOT)
    return (replace(found[0], count=n_cores),) if len(found) == 1 else found


def _untold(told: Mapping[str, str], cpu: str, n_cores: int) -> tuple[Cores, ...]:
    """macOS's kinds, else one with the clock that psutil finds."""
    return cores.mac_kinds(told) or (Cores(kind=cpu, count=n_cores, clock_hz=_psutil_clock()),)


def _psutil_clock() -> float | None:
    """Hertz, the highest or else the present; None where psutil does not know (it raises, or has no such function)."""
    try:
        clock = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError, RuntimeError):
        return None
    return 1e6 * (clock.max or clock.current) or None if clock else None


def facts() -> dict[str, Any]:
    """Facts for JSON, recorded with each measurement: sizes in bytes, load averages over 1, 5 and 15 minutes."""
    here = machine()
    return {
        "cpu": here.cpu,
        "machine": platform.machine(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "logical_cpus": here.logical_cpus,
        "physical_cores": here.physical_cores,
        "cpu_quota": here.limits.cpus,
        "threads": here.threads,
        "memory_bytes": here.memory_bytes,
        "available_bytes": here.usable_bytes,
        "memory_limit_bytes": here.limits.memory_bytes,
        "isa": list(here.isa),
        "load_average": list(psutil.getloadavg()),
    }


def allowed_cpus() -> list[int]:
    """Numbers of the logical processors that this process may use (`sched_getaffinity`; all of them elsewhere)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(cpus: Iterable[int], *, root: Path = ROOT) -> int:
    """Number of different cores behind those logical processors; 0 where /sys does not tell."""
    found = {cores.siblings(cpu, root=root) for cpu in cpus}
    return 0 if "" in found else len(found)


def isa_flags(cpuinfo: str) -> tuple[str, ...]:
    """Relevant instruction sets that all processors of /proc/cpuinfo have ("flags" on x86, "Features" on ARM)."""
    lines = [line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line]
    sets = [set(value.split()) for key, value in lines if key.strip() in ("flags", "Features")]
    common = set.intersection(*sets) if sets else set()
    return tuple(dict.fromkeys(ours for theirs, ours in ISA_NAMES.items() if theirs in common))


def cpu_name(cpuinfo: str, *, root: Path = ROOT) -> str:
    """Name of the processor or, on an ARM board, of the board and its cores; empty where nothing tells."""
    fields = [[part.strip() for part in line.split(":", 1)] for line in cpuinfo.splitlines() if ":" in line]
    model = next((value for key, value in fields if key == "model name"), "")
    parts = dict.fromkeys(cores.arm_parts(cpuinfo).values())
    board = read_text(root / "proc/device-tree/model").rstrip("\0")
    chip = model or " + ".join(parts)
    return f"{board} ({chip})" if board and chip else board or chip


def cgroup_limits(*, root: Path = ROOT) -> Limits:
    """The tightest limits on the way from this process's control groups to the top, version 2, version 1 or both.

    Source: kernel documentation, admin-guide/cgroup-v2.rst (cpu.max, memory.max) and scheduler/sched-bwc.rst.
    """
    cpus: list[float] = []
    memory: list[int] = []
    free: list[int] = []
    for folder in cgroup_folders(root=root):
        cpus += _quota(read_text(folder / "cpu.max").split())
        cpus += _quota([read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")])
        limits = _bytes(read_text(folder / "memory.max")) + _bytes(read_text(folder / "memory.limit_in_bytes"))
        memory += limits
        free += [max(0, limit - used) for limit in limits for used in _held(folder)]
    return Limits(
        cpus=min(cpus, default=None), memory_bytes=min(memory, default=None), memory_free_bytes=min(free, default=None)
    )


def _held(folder: Path) -> list[int]:
    """Bytes that a control group holds and the kernel cannot drop: all but files that nobody read lately."""
    told = (number(folder / name) for name in ("memory.current", "memory.usage_in_bytes"))
    stat = counts(folder / "memory.stat")
    idle = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return [used - idle for used in told if used is not None][:1]


def cgroup_folders(*, root: Path = ROOT) -> list[Path]:
    """Folders that may hold this process's limits, for each controller from its own group up to the mount.

    A container may see less of the path than it is told: not every folder is there.
    """
    mount, folders = root / "sys/fs/cgroup", list[Path]()
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [mount / name for name in {controllers, *controllers.split(",")}] if controllers else [mount]
        for top in mounts:
            below = top / path.lstrip("/")
            folders += [below, *(p for p in below.parents if p.is_relative_to(top))]
    return list(dict.fromkeys(folders))


def _quota(words: list[str]) -> list[float]:
    """Quota over period, both in microseconds; nothing for "max", -1 and files that are not there."""
    numbers = [int(word) for word in words if word.isdigit()]
    return [numbers[0] / numbers[1]] if len(numbers) == 2 and numbers[0] > 0 and numbers[1] > 0 else []


def _bytes(word: str) -> list[int]:
    return [int(word)] if word.isdigit() and int(word) < _UNLIMITED_BYTES else []
