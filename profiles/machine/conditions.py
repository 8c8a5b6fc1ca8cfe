"""The conditions of a measurement, read before and after it, and what in them makes its figures doubtful.

The measuring child reads them itself, because it counts its own faults and processor time:

    session.evaluate(prompt, ...)   # the warm-up, so that the clock is already that of work
    before = conditions.read()
    ...                             # the timed repetitions, and nothing that waits
    after = conditions.read()
    notes = conditions.marks(before, after)

Both go into the row's parameters with `dataclasses.asdict`, the notes into the row's note. A reading takes 1 ms, and
some 10 ms where it asks a program (a Raspberry Pi's vcgencmd, a Mac's notifyutil); keep it out of what is timed.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import clocks, contention, host, paging, throttling
from .clocks import Clock
from .contention import Use
from .paging import Paging
from .text_files import read_text
from .throttling import Runner, Throttling

#: of a core; two threads that wait for each other lose about as much as another process takes from one of them, and
#: below 5 % that drowns in the spread of repetitions
OTHERS_CORES = 0.05
#: the counters of /proc/stat tick every 10 ms for each core: what they say of a short window may be off by that much
OTHERS_SECONDS = 0.05
#: of the clock; a processor's boost wanders by some per cent, and every engine's prefill is proportional to the clock
CLOCK_SHARE = 0.9
#: reads a second that the slowest card for apps (SD Association, class A1: 1,500 a second) serves in 1 % of the time
FAULTS_PER_SECOND = 15.0
#: what a quiet system may swap of programs that nobody uses; an SD card takes about 50 ms for it
SWAPPED_BYTES = 1 << 20
#: where the system counts nothing but swap in use, which other programs move as well
SWAP_GROWTH_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The state of machine and process at one moment; `monotonic_seconds` tells how long a window was."""

    monotonic_seconds: float
    clocks: tuple[Clock, ...]  # fastest kind of core first
    temperature_celsius: float | None
    throttling: Throttling
    use: Use
    paging: Paging
    memory_limit_bytes: int | None
    cpu_quota: float | None
    on_battery: bool | None

    @property
    def clock_hz(self) -> float | None:
        """The clock of the fastest kind of core."""
        return self.clocks[0].hz if self.clocks else None


def read(*, root: Path = host.ROOT, run: Runner | None = None) -> Conditions:
    """Read them now; the clock first, before it falls for lack of work."""
    clock = clocks.clocks(root=root)
    limits = host.cgroup_limits(root=root)
    return Conditions(
        monotonic_seconds=time.monotonic(),
        clocks=clock,
        use=contention.read(root=root),
        paging=paging.read(root=root),
        temperature_celsius=clocks.temperature_celsius(root=root),
        throttling=throttling.read(root=root, run=run),
        memory_limit_bytes=limits.memory_bytes,
        cpu_quota=limits.cpus,
        on_battery=on_battery(root=root),
    )


def marks(before: Conditions, after: Conditions) -> tuple[str, ...]:
    """What makes figures measured between two readings doubtful: "code: sentence", worst first; empty if nothing.

    Codes: "throttled", "clock fell", "swapped", "major faults", "shared cores", "on battery".
    """
    seconds = max(after.monotonic_seconds - before.monotonic_seconds, 1e-9)
    said = [("throttled", words) for words in throttling.between(before.throttling, after.throttling)]
    said += [("throttled", words) for words in _held_down(before.clocks, after.clocks)]
    said += [("clock fell", words) for words in _fallen(before.clocks, after.clocks)]
    said += [("swapped", words) for words in _swapped(before.paging, after.paging)]
    said += [("major faults", words) for words in _faults(before.paging, after.paging, seconds)]
    said += [("shared cores", words) for words in _shared(before.use, after.use, seconds)]
    if before.on_battery or after.on_battery:
        said.append(("on battery", "the machine ran on its battery, where many slow down"))
    return tuple(f"{code}: {words}" for code, words in said)


def _held_down(before: tuple[Clock, ...], after: tuple[Clock, ...]) -> list[str]:
    """Kinds of cores whose highest clock the system has lowered, as it does against heat, at either end."""
    lowest: dict[str, Clock] = {}
    for clock in (*before, *after):
        if clock.limit_hz and clock.limit_hz < CLOCK_SHARE * clock.max_hz:
            known = lowest.get(clock.cpus)
            lowest[clock.cpus] = clock if known is None else min(known, clock, key=lambda each: each.limit_hz or 0.0)
    return [
        f"cores {cpus} may clock at {(clock.limit_hz or 0.0) / 1e9:.2f} of their {clock.max_hz / 1e9:.2f} GHz"
        for cpus, clock in lowest.items()
    ]


def _fallen(before: tuple[Clock, ...], after: tuple[Clock, ...]) -> list[str]:
    """Only the fastest kind of core counts: slower ones idle beside it."""
    if not before or not after:
        return []
    old, new, mean = before[0].hz, after[0].hz, clocks.mean_hz(before[0], after[0])
    if mean is not None and mean < CLOCK_SHARE * old and mean < new:
        return [f"{old / 1e9:.2f} GHz before, {mean / 1e9:.2f} GHz on average"]
    return [f"{old / 1e9:.2f} GHz before, {new / 1e9:.2f} GHz after"] if new < CLOCK_SHARE * old else []


def _swapped(before: Paging, after: Paging) -> list[str]:
    if before.swapped_bytes is None or after.swapped_bytes is None:
        grown = after.swap_used_bytes - before.swap_used_bytes
        return [f"swap grew by {grown / 1e6:,.0f} MB"] if grown > SWAP_GROWTH_BYTES else []
    moved = after.swapped_bytes - before.swapped_bytes
    return [f"{moved / 1e6:,.1f} MB went to swap or came back"] if moved > SWAPPED_BYTES else []


def _faults(before: Paging, after: Paging, seconds: float) -> list[str]:
    n = (after.major_faults or 0) - (before.major_faults or 0)
    if n <= max(FAULTS_PER_SECOND * seconds, FAULTS_PER_SECOND):
        return []
    return [f"{n:,} times the process waited for pages from the disk ({n / seconds:,.0f} a second): it does not fit"]


def _shared(before: Use, after: Use, seconds: float) -> list[str]:
    least = max(OTHERS_CORES, OTHERS_SECONDS / seconds)
    others = contention.others_cores(before, after, seconds=seconds) or 0.0
    stolen = ((after.stolen_seconds or 0.0) - (before.stolen_seconds or 0.0)) / seconds
    held = (after.throttled_seconds or 0.0) - (before.throttled_seconds or 0.0)
    periods = (after.throttled_periods or 0) - (before.throttled_periods or 0)
    said = [f"other processes took {others:.2f} of a core"] if others > least else []
    said += [f"the hypervisor gave {stolen:.2f} of a core to others"] if stolen > least else []
    said += [f"the control group's quota held it {periods:,} times, {held:.1f} s in all"] if held > 0 else []
    return said


def on_battery(*, root: Path = host.ROOT) -> bool | None:
    """Whether no mains feed the machine; None where there is no battery or nobody tells.

    Source: kernel documentation, ABI/testing/sysfs-class-power; a mouse's battery has the scope "Device".
    """
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    if not supplies and not (root / "proc/meminfo").exists():
        return _on_battery_by_psutil()
    own = [each for each in supplies if read_text(each / "scope") != "Device"]
    batteries = [each for each in own if read_text(each / "type") == "Battery"]
    if not batteries:
        return None
    fed = any(read_text(each / "online") == "1" for each in own if each not in batteries)
    return not fed and any(read_text(each / "status") == "Discharging" for each in batteries)


def _on_battery_by_psutil() -> bool | None:
    try:
        found = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):
        return None
    return None if found is None or found.power_plugged is None else not found.power_plugged
