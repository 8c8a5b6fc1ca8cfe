"""Clocks and temperature of the processor: cpufreq, thermal zones and hwmon on Linux, psutil elsewhere.

psutil's clock hardly moves on macOS and Windows: there it is the one that the processor is sold with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import host
from .text_files import number, read_text

#: in the names of thermal zones and hwmon chips that measure a processor (Intel, AMD, Raspberry Pi, Rockchip, Jetson,
#: Qualcomm), and not in those of graphics, disks, batteries and radios
_CPU_SENSORS = ("x86_pkg_temp", "coretemp", "k10temp", "zenpower", "cpu", "core", "soc", "cluster")


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Cores that can reach the same clock: the fastest of them now, in hertz.

    `limit_hz` is what the system allows now, the lowest of all: a hot processor's driver lowers it. `cycles` over
    `counted_seconds`, between two readings, is the mean clock; both are None where the kernel keeps no table, or
    several.
    """

    cpus: str  # "0-3"
    hz: float
    max_hz: float
    limit_hz: float | None = None
    governor: str = ""
    cycles: float | None = None
    counted_seconds: float | None = None


def clocks(*, root: Path = host.ROOT, allowed: Iterable[int] | None = None) -> tuple[Clock, ...]:
    """Clocks of the processors that this process may use, the fastest kind of core first; empty where nobody tells.

    Source: kernel documentation, admin-guide/pm/cpufreq.rst (kHz) and cpu-freq/cpufreq-stats.rst (kHz, then 10 ms).
    """
    kinds: dict[float, list[tuple[int, Path]]] = {}
    for cpu in host.allowed_cpus() if allowed is None else allowed:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        highest = number(folder / "cpuinfo_max_freq")
        if highest and number(folder / "scaling_cur_freq"):
            kinds.setdefault(highest, []).append((cpu, folder))
    if kinds or (root / "proc/meminfo").exists():
        return tuple(_clock(kinds[highest], highest) for highest in sorted(kinds, reverse=True))
    return _told_by_psutil()


def _clock(cores: Sequence[tuple[int, Path]], highest: float) -> Clock:
    now, folder = max((number(folder / "scaling_cur_freq") or 0, folder) for _, folder in cores)
    policies = {read_text(each / "related_cpus") for _, each in cores}
    cycles, seconds = _counted(read_text(folder / "stats/time_in_state")) if len(policies) == 1 else (None, None)
    limit = min((limit for _, each in cores if (limit := number(each / "scaling_max_freq"))), default=None)
    return Clock(
        cpus=_ranges([cpu for cpu, _ in cores]),
        hz=now * 1e3,
        max_hz=highest * 1e3,
        limit_hz=limit * 1e3 if limit else None,
        governor=read_text(folder / "scaling_governor"),
        cycles=cycles,
        counted_seconds=seconds,
    )


def _counted(table: str) -> tuple[float | None, float | None]:
    """Cycles and seconds since the system started, from lines of kHz and hundredths of a second."""
    rows = [(float(row[0]), float(row[1])) for line in table.splitlines() if len(row := line.split()) == 2]
    if not rows:
        return None, None
    return sum(khz * 1e3 * ticks / 100 for khz, ticks in rows), sum(ticks / 100 for _, ticks in rows)


def mean_hz(before: Clock, after: Clock) -> float | None:
    """The mean clock between two readings; None where the kernel does not count, or less than half a second of it."""
    if None in (before.cycles, before.counted_seconds, after.cycles, after.counted_seconds):
        return None
    seconds = (after.counted_seconds or 0.0) - (before.counted_seconds or 0.0)
    return ((after.cycles or 0.0) - (before.cycles or 0.0)) / seconds if seconds >= 0.5 else None


def _told_by_psutil() -> tuple[Clock, ...]:
    try:
        found = psutil.cpu_freq()
    except (AttributeError, OSError, RuntimeError):  # some Macs and virtual machines have none to tell
        found = None
    if not found or not found.current:
        return ()
    every = host.allowed_cpus()
    return (Clock(cpus=_ranges(every), hz=found.current * 1e6, max_hz=(found.max or found.current) * 1e6),)


def temperature_celsius(*, root: Path = host.ROOT) -> float | None:
    """The hottest of the processor's sensors; None where none is known as such (macOS and Windows tell no program)."""
    found = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        found += _degrees(read_text(zone / "type"), [zone / "temp"])
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        found += _degrees(read_text(chip / "name"), sorted(chip.glob("temp*_input")))
    return max(found, default=None)


def _degrees(name: str, files: Iterable[Path]) -> list[float]:
    if not any(each in name.lower() for each in _CPU_SENSORS):
        return []
    return [value / 1000 for file in files if (value := number(file)) is not None]


def _ranges(cpus: Sequence[int]) -> str:
    """[0, 1, 2, 5] as "0-2,5"."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
