"""Whether the machine slows itself down: a Raspberry Pi's flags, Intel's counters, a Mac's thermal pressure."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import host
from .text_files import number

#: runs a command, returns what it printed; "" where there is none of that name or it fails
Runner = Callable[[Sequence[str]], str]
#: bits of `vcgencmd get_throttled`, from raspberrypi.com/documentation/computers/os.html#get_throttled
PI_FLAGS = {
    0: "undervoltage detected",
    1: "Arm frequency capped",
    2: "currently throttled",
    3: "soft temperature limit active",
    16: "undervoltage has occurred",
    17: "Arm frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
_NOW, _SINCE_START = 0xF, 0xF0000
#: levels of com.apple.system.thermalpressurelevel on macOS, from Apple's libkern/OSThermalNotification.h
MAC_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
_COMMAND_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """What tells of slowing down; None for what this machine does not have.

    `pi_flags` is the bit pattern; the counts are of times since the system started, of all cores together and of the
    package; `mac_level` counts from 0 (nominal).
    """

    pi_flags: int | None = None
    core_count: int | None = None
    package_count: int | None = None
    mac_level: int | None = None


def read(*, root: Path = host.ROOT, run: Runner | None = None) -> Throttling:
    """Read what there is; two of the three ask a program, which takes some 10 ms where it is installed."""
    run = run or run_command
    core, package = intel_counts(root=root)
    return Throttling(
        pi_flags=_pi_flags(run(["vcgencmd", "get_throttled"])),
        core_count=core,
        package_count=package,
        mac_level=_mac_level(run(["notifyutil", "-g", "com.apple.system.thermalpressurelevel"])),
    )


def run_command(words: Sequence[str]) -> str:
    """What a command printed; "" where it is not installed, fails or hangs."""
    program = shutil.which(words[0])
    if not program:
        return ""
    try:
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def decode_pi(flags: int) -> tuple[str, ...]:
    """What the bits of `get_throttled` say."""
    return tuple(words for bit, words in PI_FLAGS.items() if flags >> bit & 1)


def intel_counts(*, root: Path = host.ROOT) -> tuple[int | None, int | None]:
    """How often cores, together, and the hottest package got too hot.

    Source: kernel documentation, ABI/testing/sysfs-devices-system-cpu, thermal_throttle.
    """
    folder = root / "sys/devices/system/cpu"
    core, package = (
        [n for file in folder.glob(f"cpu[0-9]*/thermal_throttle/{name}") if (n := number(file)) is not None]
        for name in ("core_throttle_count", "package_throttle_count")
    )
    return (sum(core) if core else None), max(package, default=None)


def between(before: Throttling, after: Throttling) -> tuple[str, ...]:
    """What happened between two readings, or holds at one of them, in words with figures."""
    said = []
    if after.pi_flags is not None:
        old = before.pi_flags or 0
        fresh = (old | after.pi_flags) & _NOW | (after.pi_flags & ~old) & _SINCE_START
        said += [", ".join(decode_pi(fresh)) + f" (get_throttled 0x{after.pi_flags:x})"] if fresh else []
    for now, earlier, what in (
        (after.core_count, before.core_count, "cores"),
        (after.package_count, before.package_count, "the processor's package"),
    ):
        times = (now or 0) - (earlier or 0)
        said += [f"{what} got too hot {times:,} time{'s' if times > 1 else ''}"] if times > 0 else []
    level = max(before.mac_level or 0, after.mac_level or 0)
    said += [f"thermal pressure {MAC_LEVELS[min(level, len(MAC_LEVELS) - 1)]}"] if level else []
    return tuple(said)


def _pi_flags(text: str) -> int | None:
    """ "throttled=0x50005"."""
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", text)
    return int(found[1], 16) if found else None


def _mac_level(text: str) -> int | None:
    """ "com.apple.system.thermalpressurelevel 0"."""
    found = re.search(r"thermalpressurelevel (\d+)", text)
    return int(found[1]) if found else None
