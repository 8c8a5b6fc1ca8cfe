"""The kinds of cores that a process may use, the fastest first, and how fast they clock.

ARM boards mix parts that /proc/cpuinfo names; Intel's hybrids list the processors of each kind in /sys; macOS counts
cores by performance level. Every reader takes what it reads, or the `root` of a recorded tree.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .text_files import number, read_text

#: implementer -> "CPU part" of /proc/cpuinfo -> name, from arch/arm64/include/asm/cputype.h
_PARTS: Mapping[str, Mapping[str, str]] = {
    "0x41": {
        "0xd03": "Cortex-A53",
        "0xd04": "Cortex-A35",
        "0xd05": "Cortex-A55",
        "0xd07": "Cortex-A57",
        "0xd08": "Cortex-A72",
        "0xd09": "Cortex-A73",
        "0xd0a": "Cortex-A75",
        "0xd0b": "Cortex-A76",
        "0xd0c": "Neoverse-N1",
        "0xd0d": "Cortex-A77",
        "0xd40": "Neoverse-V1",
        "0xd41": "Cortex-A78",
        "0xd42": "Cortex-A78AE",
        "0xd44": "Cortex-X1",
        "0xd46": "Cortex-A510",
        "0xd47": "Cortex-A710",
        "0xd48": "Cortex-X2",
        "0xd49": "Neoverse-N2",
        "0xd4d": "Cortex-A715",
        "0xd4e": "Cortex-X3",
        "0xd4f": "Neoverse-V2",
        "0xd80": "Cortex-A520",
        "0xd81": "Cortex-A720",
        "0xd82": "Cortex-X4",
    },
    "0x61": {"0x022": "Icestorm", "0x023": "Firestorm", "0x032": "Blizzard", "0x033": "Avalanche"},
}
#: kinds that are there to save power: threads on them hold those on the others up
_SMALL = ("Cortex-A35", "Cortex-A53", "Cortex-A55", "Cortex-A510", "Cortex-A520", "Icestorm", "Blizzard")
_SMALL_WORDS = ("efficient", "low-power", "Efficiency")
#: Linux's name for a kind of x86 cores (/sys/devices/NAME/cpus) -> ours
_HYBRID = {"cpu_core": "performance core", "cpu_atom": "efficient core", "cpu_lowpower": "low-power core"}


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Processor cores of one kind; `clock_hz` is the highest that they are sold with or that the system tells."""

    kind: str
    count: int
    clock_hz: float | None = None


def kinds(cpus: Iterable[int], cpuinfo: str, *, name: str, root: Path) -> tuple[Cores, ...]:
    """Cores behind those logical processors by kind, the fastest first; `name` where the system tells no kinds.

    Siblings that share a core count once. Clocks are the highest that cpufreq allows, else what /proc/cpuinfo says.
    """
    parts, hybrid, clocks = arm_parts(cpuinfo), _hybrid_kinds(root), _stated_clocks(cpuinfo)
    cores: dict[str, int] = {}  # the core's siblings, or the processor alone -> one processor of it
    for cpu in cpus:
        cores.setdefault(siblings(cpu, root=root) or str(cpu), cpu)
    found: dict[str, list[float]] = {}
    for cpu in cores.values():
        clock = highest_clock(cpu, root=root) or clocks.get(cpu) or 0.0
        found.setdefault(parts.get(cpu) or hybrid.get(cpu) or name, []).append(clock)
    made = [Cores(kind=kind, count=len(each), clock_hz=max(each) or None) for kind, each in found.items()]
    return tuple(sorted(made, key=lambda each: (is_small(each.kind), -(each.clock_hz or 0))))


def fast(found: Sequence[Cores]) -> int:
    """How many of the cores are worth a thread of their own in decode: all but the small ones beside bigger ones."""
    return sum(each.count for each in found if not is_small(each.kind)) or sum(each.count for each in found)


def is_small(kind: str) -> bool:
    """Whether a kind of cores is made to save power."""
    return kind in _SMALL or any(word in kind for word in _SMALL_WORDS)


def arm_parts(cpuinfo: str) -> dict[int, str]:
    """Processor -> its part's name, or its numbers where we have no name; {} on x86."""
    found: dict[int, str] = {}
    for cpu, fields in _processors(cpuinfo):
        implementer, part = fields.get("CPU implementer", ""), fields.get("CPU part", "")
        if part:
            found[cpu] = _PARTS.get(implementer, {}).get(part, f"{implementer} {part}".strip())
    return found


def siblings(cpu: int, *, root: Path) -> str:
    """The logical processors that share a core with this one, as /sys writes them; "" where it does not tell."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    # the siblings name a core uniquely, while core_id repeats between the clusters of some ARM chips
    return read_text(topology / "thread_siblings_list") or read_text(topology / "core_cpus_list")


def highest_clock(cpu: int, *, root: Path) -> float | None:
    """Hertz; None where there is no cpufreq, as in many virtual machines (Documentation/admin-guide/pm/cpufreq.rst)."""
    kilohertz = number(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq")
    return None if kilohertz is None else 1000.0 * kilohertz


def mac_kinds(told: Mapping[str, str]) -> tuple[Cores, ...]:
    """Cores by performance level, from sysctl's `hw.perflevelN` values and `machdep.cpu.brand_string`."""
    brand, found = told.get("machdep.cpu.brand_string", ""), []
    for level in range(int(told.get("hw.nperflevels", "0") or 0)):
        name, count = (told.get(f"hw.perflevel{level}.{key}", "") for key in ("name", "physicalcpu"))
        if count.isdigit() and int(count):
            found.append(Cores(kind=f"{brand} {name}".strip(), count=int(count)))
    return tuple(found)


def cpu_list(text: str) -> list[int]:
    """The kernel's way to write lists of processors: "0-3,8" is 0, 1, 2, 3, 8."""
    pairs = [part.partition("-") for part in text.split(",") if part.strip()]
    return [n for low, _, high in pairs for n in range(int(low), int(high or low) + 1)]


def _hybrid_kinds(root: Path) -> dict[int, str]:
    """Processor -> kind on an x86 chip with several; {} elsewhere."""
    lists = {ours: read_text(root / f"sys/devices/{theirs}/cpus") for theirs, ours in _HYBRID.items()}
    return {cpu: ours for ours, text in lists.items() for cpu in cpu_list(text)}


def _stated_clocks(cpuinfo: str) -> dict[int, float]:
    """Processor -> hertz that x86's /proc/cpuinfo states: the clock of this moment, or a virtual machine's."""
    megahertz = ((number, fields.get("cpu MHz", "")) for number, fields in _processors(cpuinfo))
    return {number: 1e6 * float(text) for number, text in megahertz if re.fullmatch(r"\d+(\.\d+)?", text)}


def _processors(cpuinfo: str) -> Iterable[tuple[int, dict[str, str]]]:
    """The blocks of /proc/cpuinfo that describe a processor, with its number."""
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        if fields.get("processor", "").isdigit():
            yield int(fields["processor"]), fields
