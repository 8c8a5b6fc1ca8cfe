"""The machine this runs on: what affinity and control groups leave of it, and the facts recorded beside a measurement.

Linux tells most through /proc, /sys and /sys/fs/cgroup; every function that reads them takes their `root`, so that
recorded trees of other machines can be read. Where they are missing (macOS, Windows), psutil and platform answer.
"""

import importlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

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
#: numpy's spelling -> ours, where there is no /proc/cpuinfo; numpy names neither avx_vnni nor i8mm
_NUMPY_NAMES = {
    "SSE42": "sse4_2",
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA3": "fma",
    "F16C": "f16c",
    "AVX512F": "avx512f",
    "AVX512VNNI": "avx512_vnni",
    "AVX512BF16": "avx512_bf16",
    "AVX512FP16": "avx512_fp16",
    "ASIMD": "neon",
    "ASIMDDP": "dotprod",
    "ASIMDHP": "fp16",
    "SVE": "sve",
}
#: "CPU part" of /proc/cpuinfo for implementer 0x41 (Arm), from arch/arm64/include/asm/cputype.h
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
}
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes "no limit" as the largest multiple of a page below 2**63


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What control groups allow: `cpus` in units of one processor, memory in bytes; None where nothing is limited."""

    cpus: float | None = None
    memory_bytes: int | None = None


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

    @property
    def threads(self) -> int:
        """Threads worth starting: allowed physical cores, and no more than the quota pays for."""
        quota = self.physical_cores if self.limits.cpus is None else int(self.limits.cpus)
        return max(1, min(self.physical_cores, quota))

    @property
    def memory_bytes(self) -> int:
        """Memory of the machine, or of the control group where that is smaller."""
        return min(self.total_bytes, self.limits.memory_bytes or self.total_bytes)

    @property
    def usable_bytes(self) -> int:
        """Memory that can be had now without pushing anything out, within the control group's limit."""
        return min(self.available_bytes, self.memory_bytes)


def machine() -> Machine:
    """Look at this machine; takes milliseconds."""
    cpuinfo = _read(ROOT / "proc/cpuinfo")
    allowed = allowed_cpus()
    memory = psutil.virtual_memory()
    return Machine(
        cpu=cpu_name(cpuinfo, root=ROOT) or platform.processor() or platform.machine(),
        logical_cpus=len(allowed),
        physical_cores=physical_cores(allowed, root=ROOT) or psutil.cpu_count(logical=False) or len(allowed),
        limits=cgroup_limits(root=ROOT),
        total_bytes=memory.total,
        available_bytes=memory.available,
        isa=isa_flags(cpuinfo) or isa_elsewhere(platform.system(), platform.machine()),
    )


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
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        # the siblings name a core uniquely, while core_id repeats between the clusters of some ARM chips
        core = _read(topology / "thread_siblings_list") or _read(topology / "core_cpus_list")
        if not core:
            return 0
        cores.add(core)
    return len(cores)


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
    parts = dict.fromkeys(_ARM_PARTS.get(value, value) for key, value in fields if key == "CPU part")
    board = _read(root / "proc/device-tree/model").rstrip("\0")
    cores = model or " + ".join(parts)
    return f"{board} ({cores})" if board and cores else board or cores


def cgroup_limits(*, root: Path = ROOT) -> Limits:
    """The tightest limits on the way from this process's control groups to the top, version 2, version 1 or both.

    Source: kernel documentation, admin-guide/cgroup-v2.rst (cpu.max, memory.max) and scheduler/sched-bwc.rst.
    """
    cpus: list[float] = []
    memory: list[int] = []
    for folder in cgroup_folders(root=root):
        cpus += _quota(_read(folder / "cpu.max").split())
        cpus += _quota([_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")])
        memory += _bytes(_read(folder / "memory.max")) + _bytes(_read(folder / "memory.limit_in_bytes"))
    return Limits(cpus=min(cpus, default=None), memory_bytes=min(memory, default=None))


def cgroup_folders(*, root: Path = ROOT) -> list[Path]:
    """Folders that may hold this process's limits, for each controller from its own group up to the mount.

    A container may see less of the path than it is told: not every folder is there.
    """
    mount, folders = root / "sys/fs/cgroup", list[Path]()
    for line in _read(root / "proc/self/cgroup").splitlines():
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


def isa_elsewhere(system: str, arch: str) -> tuple[str, ...]:
    """Instruction sets where there is no /proc/cpuinfo: those of every Apple chip, else those that numpy found."""
    if (system, arch) == ("Darwin", "arm64"):
        return ("neon", "dotprod", "fp16", "atomics")
    found = _numpy_features()
    return tuple(ours for theirs, ours in _NUMPY_NAMES.items() if found.get(theirs))


def _numpy_features() -> Mapping[str, bool]:
    """What numpy chooses its own kernels by; what `numpy.show_runtime` prints, empty where a version has moved it."""
    try:
        module = importlib.import_module("numpy._core._multiarray_umath")
    except ImportError:
        return {}
    features: Mapping[str, bool] = getattr(module, "__cpu_features__", {})
    return features


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
