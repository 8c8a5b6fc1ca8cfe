"""Energy in joules, where the machine tells: RAPL on Linux (Intel, AMD), the power chip of a Raspberry Pi 5.

A battery's discharge is too coarse for the seconds that a measurement takes, and is left out. Where nothing tells
there is no meter: figures are absent, never zero.
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from . import host
from .text_files import number, read_text
from .throttling import Runner, run_command

#: packages at the top, not the cores and the memory within them, nor "psys", which counts the packages once more
_PACKAGE_FOLDER = re.compile(r"intel-rapl:\d+")
#: of the Pi's chip; each sample starts a program, which takes about 1 % of a core
SAMPLES_PER_SECOND = 5.0
_RAIL = re.compile(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]")


class Meter(Protocol):
    """Counts energy up; `covers` says of what."""

    covers: str

    def joules(self) -> float:
        """Joules since some moment in the past; only differences mean anything."""
        ...

    def close(self) -> None:
        """Stop counting."""
        ...


def meter(*, root: Path = host.ROOT, run: Runner | None = None) -> Meter | None:
    """This machine's meter; None where it does not tell, or not to this user (`absence` says which)."""
    run = run or run_command
    if rapl := RaplMeter.of(root):
        return rapl
    return PiMeter(run) if rail_watts(run(["vcgencmd", "pmic_read_adc"])) is not None else None


def absence(*, root: Path = host.ROOT) -> str:
    """Why there is no meter, for people who would like one."""
    if packages(root=root):
        return (
            "the processor's energy counters can be read by root alone: sudo chmod a+r /sys/class/powercap/*/energy_uj"
        )
    return "this machine does not tell what it draws"


def idle_watts(counting: Meter, seconds: float) -> float:
    """What is drawn while this process sleeps: call it before anything is loaded."""
    began, joules = time.monotonic(), counting.joules()
    time.sleep(seconds)
    return (counting.joules() - joules) / (time.monotonic() - began)


def packages(*, root: Path = host.ROOT) -> list[Path]:
    """Folders of the processor packages' counters, readable or not."""
    folders = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    return [each for each in folders if _PACKAGE_FOLDER.fullmatch(each.name) and read_text(each / "name") != "psys"]


class RaplMeter:
    """The packages' counters, which count in steps of a millisecond and disturb nothing.

    They wrap at `max_energy_range_uj`, some 10 minutes to some hours of full load: `joules` must be called more often
    than that. Source: kernel documentation, power/powercap/powercap.rst; since Linux 5.10 only root may read them.
    """

    covers = "the processor's package, without memory, disk and screen"

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        """Count from now; pairs of an `energy_uj` file and where it wraps."""
        self._files, self._total = files, 0
        self._last = self._counted()

    @classmethod
    def of(cls, root: Path) -> "RaplMeter | None":
        """A meter of all packages; None where there are none, or one cannot be read."""
        folders = packages(root=root)
        found = [(each / "energy_uj", number(each / "max_energy_range_uj")) for each in folders]
        known = [(file, wraps) for file, wraps in found if wraps is not None and number(file) is not None]
        return cls(known) if known and len(known) == len(folders) else None

    def _counted(self) -> list[int]:
        return [int(read_text(file)) for file, _ in self._files]

    def joules(self) -> float:
        """See `Meter.joules`."""
        now = self._counted()
        steps = zip(now, self._last, self._files, strict=True)
        self._total += sum(new - old if new >= old else new - old + wraps for new, old, (_, wraps) in steps)
        self._last = now
        return self._total / 1e6

    def close(self) -> None:
        """See `Meter.close`."""


class PiMeter:
    """Volts times amperes over the rails of a Pi 5's power chip, added up from samples in a thread of its own.

    Five samples a second: shorter peaks are lost, and a window should last seconds. Each sample starts `vcgencmd`, so
    that speeds are best measured in other repetitions than energy. What hangs on the 5 V line (USB, fan, disks) and
    what the chip itself loses is not in it: at the plug it is more.
    """

    covers = "the board's rails behind its power chip, without what hangs on the 5 V line"

    def __init__(self, run: Runner, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now."""
        self._run, self._clock = run, clock
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._total, self._at, self._watts = 0.0, clock(), self._sampled() or 0.0
        self._thread = threading.Thread(target=self._sample, name="energy", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """See `Meter.joules`; takes a sample of its own, so that a window ends where it ends."""
        with self._lock:
            self._add()
            return self._total

    def close(self) -> None:
        """See `Meter.close`."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(1 / SAMPLES_PER_SECOND):
            with self._lock:
                self._add()

    def _add(self) -> None:
        """The trapezium between the last sample and one taken now; a sample that fails is the last one again."""
        watts = self._sampled()
        now = self._clock()
        new = self._watts if watts is None else watts
        self._total += (self._watts + new) / 2 * (now - self._at)
        self._at, self._watts = now, new

    def _sampled(self) -> float | None:
        return rail_watts(self._run(["vcgencmd", "pmic_read_adc"]))


def rail_watts(text: str) -> float | None:
    """The sum over the rails that `vcgencmd pmic_read_adc` tells both volts and amperes of; None where it tells none.

    Lines look like "VDD_CORE_A current(7)=1.65A" and "VDD_CORE_V volt(15)=0.85V"; EXT5V and BATT have volts alone.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for name, unit, value in _RAIL.findall(text):
        found[unit][name] = float(value)
    rails = found["A"].keys() & found["V"].keys()
    return sum(found["A"][name] * found["V"][name] for name in rails) if rails else None
