"""What surrounds the engines on this machine: memory, swap, pages, processors, governor, disk, userland, packages.

Functions that read /proc and /sys take their `root`, so that recorded trees of other machines can be read.
"""

import importlib.util
import os
import platform
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import conditions, host, throttling
from .text_files import read_text
from .throttling import Throttling

#: extra of edgequant -> the modules that it brings
EXTRAS = {
    "convert": ("torch", "transformers", "onnx", "safetensors", "sentencepiece", "huggingface_hub"),
    "optimum": ("optimum",),
    "report": ("plotly",),
}
#: what the wheels of a bundle are compiled with -> the device's machine
COMPILERS = {"g++": "this machine's kind", "aarch64-linux-gnu-g++": "64-bit ARM", "x86_64-linux-gnu-g++": "64-bit x86"}


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Swap space in bytes, and whether all of it is compressed memory (zram)."""

    total_bytes: int
    used_bytes: int
    is_zram: bool


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Everything beside the engines; sizes in bytes, None where the system does not tell."""

    system: str
    machine: str  # of the kernel, as `uname -m` says it
    python: str
    python_bits: int
    page_bytes: int
    memory_bytes: int
    usable_bytes: int
    memory_limit_bytes: int | None
    cpu_quota: float | None
    online_cpus: int
    allowed_cpus: int
    threads: int
    swap: Swap
    governors: tuple[str, ...]  # of all processors, each once
    throttling: Throttling
    on_battery: bool | None
    disk_folder: str
    disk_free_bytes: int
    temporary_folder: str
    temporary_free_bytes: int
    temporary_in_memory: bool
    extras: dict[str, bool]
    compilers: tuple[str, ...]


def look(*, folder: Path, temporary: Path, root: Path = host.ROOT) -> Surroundings:
    """Look at this machine; `folder` is where runs would be written."""
    here = host.machine()
    return Surroundings(
        system=platform.platform(),
        machine=platform.machine(),
        python=platform.python_version(),
        python_bits=8 * struct.calcsize("P"),
        page_bytes=page_bytes(),
        memory_bytes=here.memory_bytes,
        usable_bytes=here.usable_bytes,
        memory_limit_bytes=here.limits.memory_bytes,
        cpu_quota=here.limits.cpus,
        online_cpus=os.cpu_count() or here.logical_cpus,
        allowed_cpus=here.logical_cpus,
        threads=here.threads,
        swap=swap(root=root),
        governors=governors(root=root),
        throttling=throttling.read(root=root),
        on_battery=conditions.on_battery(root=root),
        disk_folder=str(folder),
        disk_free_bytes=shutil.disk_usage(folder).free,
        temporary_folder=str(temporary),
        temporary_free_bytes=shutil.disk_usage(temporary).free,
        temporary_in_memory=filesystem_of(temporary, root=root) == "tmpfs",
        extras={name: all(map(_is_there, modules)) for name, modules in EXTRAS.items()},
        compilers=tuple(name for name in COMPILERS if shutil.which(name)),
    )


def page_bytes() -> int:
    """Bytes of a page of memory; 4096 where Python does not ask the system (Windows)."""
    return os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def swap(*, root: Path = host.ROOT) -> Swap:
    """Swap as /proc/swaps has it, in KiB there; psutil's numbers where there is none."""
    lines = [line.split() for line in read_text(root / "proc/swaps").splitlines()[1:]]
    if not lines and not (root / "proc/swaps").exists():
        found = psutil.swap_memory()
        return Swap(total_bytes=found.total, used_bytes=found.used, is_zram=False)
    total, used = (1024 * sum(int(line[column]) for line in lines) for column in (2, 3))
    is_zram = bool(lines) and all(line[0].startswith("/dev/zram") for line in lines)
    return Swap(total_bytes=total, used_bytes=used, is_zram=is_zram)


def governors(*, root: Path = host.ROOT) -> tuple[str, ...]:
    """Names of the governors that set the processors' clocks, each once."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return tuple(dict.fromkeys(filter(None, map(read_text, files))))


def filesystem_of(path: Path, *, root: Path = host.ROOT) -> str:
    """Kind of the file system that a path lies on, as /proc/mounts has it; empty where nothing tells."""
    found, longest = "", -1
    for line in read_text(root / "proc/mounts").splitlines():
        words = line.split()
        if len(words) > 2 and path.is_relative_to(words[1]) and len(words[1]) >= longest:
            found, longest = words[2], len(words[1])
    return found


def is_64_bit_kernel(machine: str) -> bool:
    """Whether `uname -m` names a processor of 64 bits."""
    return machine in ("aarch64", "arm64", "x86_64", "AMD64", "riscv64", "ppc64le", "s390x")


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
