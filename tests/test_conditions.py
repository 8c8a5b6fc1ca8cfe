"""Conditions from recorded values of several machines, and what in them makes figures doubtful."""

import json
import mmap
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import machines
from edgequant.profiles.machine import clocks, conditions, contention, host, paging, throttling
from edgequant.profiles.machine.conditions import Conditions, marks
from edgequant.profiles.machine.contention import Use
from edgequant.profiles.machine.paging import Paging
from edgequant.profiles.machine.throttling import Throttling

Run = Callable[[Sequence[str]], str]


def silent(words: Sequence[str]) -> str:
    return ""


@pytest.fixture(autouse=True)
def every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded machines have up to eight, this one may have fewer."""
    monkeypatch.setattr(host, "allowed_cpus", lambda: list(range(8)))


def read(root: Path, run: Run = silent, *, at: float = 100.0, own: float = 10.0, faults: int = 0) -> Conditions:
    """Conditions of a recorded machine, with a moment, and with what the measuring process itself counted."""
    found = conditions.read(root=root, run=run)
    return replace(
        found,
        monotonic_seconds=at,
        use=replace(found.use, own_seconds=own),
        paging=replace(found.paging, major_faults=faults),
    )


def codes(said: Sequence[str]) -> list[str]:
    return [words.split(":")[0] for words in said]


def test_a_pi_4_that_is_well(tmp_path: Path) -> None:
    found = read(tmp_path, machines.pi_4(tmp_path))
    (clock,) = found.clocks
    assert (clock.cpus, clock.hz, clock.max_hz, clock.governor) == ("0-3", 1.8e9, 1.8e9, "ondemand")
    assert found.clock_hz == 1.8e9 and found.temperature_celsius == 61.342
    assert found.throttling == Throttling(pi_flags=0)
    assert found.use.busy_seconds == 4 * 1.3 and found.use.stolen_seconds == 0
    assert found.paging.swap_used_bytes == (102_396 - 101_372) * 1024
    assert found.paging.swapped_bytes == 3500 * mmap.PAGESIZE
    assert found.on_battery is found.memory_limit_bytes is None
    assert marks(found, replace(found, monotonic_seconds=110.0)) == ()


def test_a_pi_4_that_gets_hot_and_swaps(tmp_path: Path) -> None:
    """0xe000e: capped, throttled and soft limit now and since the start. 40 s later: 156 s of four cores' time busy,
    150 of them ours; 45,500 pages; 4,000 faults."""
    before = read(tmp_path, machines.pi_4(tmp_path))
    after = read(tmp_path, machines.pi_4(tmp_path, hot=True), at=140.0, own=160.0, faults=4000)
    said = marks(before, after)
    assert codes(said) == ["throttled", "clock fell", "swapped", "major faults", "shared cores"]
    assert "Arm frequency capped, currently throttled, soft temperature limit active" in said[0]
    assert "undervoltage" not in said[0] and "0xe000e" in said[0]
    assert said[1] == "clock fell: 1.80 GHz before, 1.00 GHz after"
    assert said[2] == f"swapped: {45_500 * mmap.PAGESIZE / 1e6:,.1f} MB went to swap or came back"
    assert "4,000 times" in said[3] and "(100 a second)" in said[3]
    assert said[4] == "shared cores: other processes took 0.15 of a core"
    assert after.temperature_celsius == 83.731


def test_the_mean_clock_tells_of_what_happened_in_between(tmp_path: Path) -> None:
    """40 s, of which 38 at 1.0 GHz and 2 at 1.8: 1.04 GHz, though the clock is back at its best when it is over."""
    before = read(tmp_path, machines.pi_4(tmp_path))
    machines.pi_4(tmp_path, hot=True)
    after = read(tmp_path, machines.pi_4(tmp_path / "cool"), at=140.0)
    hot = clocks.clocks(root=tmp_path)[0]
    assert clocks.mean_hz(before.clocks[0], hot) == pytest.approx((38 * 1.0e9 + 2 * 1.8e9) / 40)
    back = replace(after, clocks=(replace(hot, hz=1.8e9),))
    assert "clock fell: 1.80 GHz before, 1.04 GHz on average" in marks(before, back)
    assert clocks.mean_hz(hot, hot) is None, "no time between them"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0x0", "0x50005", "undervoltage detected, currently throttled, undervoltage has occurred, throttling has"),
        ("0x50000", "0x50000", ""),  # long ago
        ("0x50000", "0xd0000", "soft temperature limit has occurred (get_throttled 0xd0000)"),
        ("0x4", "0x40000", "currently throttled, throttling has occurred"),
        ("0x0", "0x0", ""),
    ],
)
def test_flags_of_a_pi_5(tmp_path: Path, before: str, after: str, expected: str) -> None:
    """Flags since the start count where they are new, those of now at either end."""
    first = read(tmp_path, machines.pi_5(tmp_path, flags=before))
    said = marks(first, read(tmp_path, machines.pi_5(tmp_path, flags=after), at=110.0))
    assert codes(said) == (["throttled"] if expected else [])
    assert not said or said[0].startswith(f"throttled: {expected}")


def test_every_bit_of_the_documentation() -> None:
    """raspberrypi.com, get_throttled: 0x1, 0x2, 0x4, 0x8 and the same sixteen bits higher."""
    assert throttling.decode_pi(0xF000F) == tuple(throttling.PI_FLAGS.values())
    assert throttling.decode_pi(0x1) == ("undervoltage detected",)
    assert throttling.decode_pi(0x80000) == ("soft temperature limit has occurred",)


def test_a_pi_5_has_other_sensors_than_the_processors(tmp_path: Path) -> None:
    found = read(tmp_path, machines.pi_5(tmp_path))
    assert found.temperature_celsius == 54.35 and found.clock_hz == 2.4e9


def test_a_laptop(tmp_path: Path) -> None:
    """The fastest of the fast cores counts, and the hottest sensor of the processor, not of disk or radio."""
    machines.laptop(tmp_path)
    found = read(tmp_path)
    assert [(clock.cpus, clock.hz, clock.max_hz) for clock in found.clocks] == [
        ("0-3", 4.2e9, 4.5e9),
        ("4-7", 0.8e9, 3.3e9),
    ]
    assert found.temperature_celsius == 93.0 and found.on_battery is False
    assert found.throttling == Throttling(core_count=4 * 12, package_count=24)


def test_a_laptop_that_throttles_on_its_battery(tmp_path: Path) -> None:
    """Four threads ten times more each, and the package twenty times; slow cores that fall asleep mean nothing."""
    machines.laptop(tmp_path)
    before = read(tmp_path)
    machines.laptop(tmp_path, mains=False, throttled=22)
    machines.put(tmp_path, "sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq", "400000\n")
    said = marks(before, read(tmp_path, at=110.0))
    assert said[:2] == (
        "throttled: cores got too hot 40 times",
        "throttled: the processor's package got too hot 20 times",
    )
    assert codes(said[2:]) == ["on battery"]


def test_a_charger_that_rests_is_no_battery_run(tmp_path: Path) -> None:
    """Laptops that keep their battery at 80 % let it discharge beside the mains."""
    machines.laptop(tmp_path)
    machines.put(tmp_path, "sys/class/power_supply/BAT0/status", "Discharging\n")
    assert conditions.on_battery(root=tmp_path) is False


def test_a_desktop_does_not_run_on_its_mouse(tmp_path: Path) -> None:
    for name, value in (("type", "Battery"), ("scope", "Device"), ("status", "Discharging")):
        machines.put(tmp_path, f"sys/class/power_supply/hidpp_battery_0/{name}", f"{value}\n")
    assert conditions.on_battery(root=tmp_path) is None


def test_a_container_on_a_virtual_machine(tmp_path: Path) -> None:
    """30 s: 1.4 s stolen of each of two processors, which nobody else used, and a quota that held it for 2.5 s."""
    machines.cloud(tmp_path)
    before = read(tmp_path)
    assert (before.cpu_quota, before.memory_limit_bytes, before.clocks) == (1.5, 1 << 30, ())
    machines.cloud(tmp_path, stolen=240, throttled_usec=2_500_000)
    assert marks(before, read(tmp_path, at=130.0)) == (
        "shared cores: the hypervisor gave 0.09 of a core to others",
        "shared cores: the control group's quota held it 2,500 times, 2.5 s in all",
    )


def test_a_quota_of_control_groups_of_version_1(tmp_path: Path) -> None:
    machines.put(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/docker/a\n")
    machines.put(
        tmp_path,
        "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.stat",
        "nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n",
    )
    found = contention.read(root=tmp_path)
    assert (found.throttled_seconds, found.throttled_periods) == (1.5, 3)


def test_only_processors_that_may_be_used_count(tmp_path: Path) -> None:
    machines.stat(tmp_path, ["cpu0 100 0 0 9 0 0 0 5 0 0", "cpu1 7000 0 0 9 0 0 0 0 0 0", "cpu10 3 0 0 9 0 0 0 0 0 0"])
    found = contention.read(root=tmp_path, allowed=[0])
    assert (found.busy_seconds, found.stolen_seconds) == (1.0, 0.05)
    assert found.throttled_seconds is None


@dataclass
class Frequency:
    """What psutil.cpu_freq tells, in MHz."""

    current: float
    max: float


def test_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MacBook Air M2 as psutil and notifyutil see it: a clock that never moves, pressure that does."""
    monkeypatch.setattr(psutil, "cpu_freq", lambda: Frequency(3504.0, 3504.0))
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=500.0, system=100.0, idle=9e3, nice=0.0))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=1_500_000_000, sin=7, sout=8))
    monkeypatch.setattr(
        psutil, "sensors_battery", lambda: SimpleNamespace(percent=81, power_plugged=False), raising=False
    )
    pressure = {machines.MAC_PRESSURE: "com.apple.system.thermalpressurelevel 0\n"}
    before = read(tmp_path, machines.printed(pressure))
    assert before.clock_hz == 3.504e9 and before.temperature_celsius is None
    assert before.throttling == Throttling(mac_level=0) and before.on_battery is True
    assert before.paging == Paging(swap_used_bytes=1_500_000_000, major_faults=0)
    assert before.use.busy_seconds == 600.0 and before.use.stolen_seconds is None
    pressure[machines.MAC_PRESSURE] = "com.apple.system.thermalpressurelevel 2\n"
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=1_600_000_000, sin=7, sout=8))
    assert marks(before, read(tmp_path, machines.printed(pressure), at=110.0)) == (
        "throttled: thermal pressure heavy",
        "swapped: swap grew by 100 MB",
        "on battery: the machine ran on its battery, where many slow down",
    )


def test_a_windows_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No load, clock or fault that tells much; 0.4 s of 10 for others are no reason for doubt, 0.9 are."""
    monkeypatch.setattr(paging, "resource", None)
    monkeypatch.setattr(psutil, "cpu_freq", lambda: Frequency(2803.0, 2803.0))
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=50.0, system=10.0, idle=9e3, interrupt=1.0))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=900_000_000, sin=0, sout=0))
    monkeypatch.setattr(
        psutil, "sensors_battery", lambda: SimpleNamespace(percent=99, power_plugged=True), raising=False
    )
    before = conditions.read(root=tmp_path, run=silent)
    assert before.clock_hz == 2.803e9 and before.paging.major_faults is None and before.on_battery is False
    for busy, expected in ((0.4, []), (0.9, ["shared cores: other processes took 0.09 of a core"])):
        use = replace(before.use, busy_seconds=60.0 + busy)
        after = replace(before, monotonic_seconds=before.monotonic_seconds + 10, use=use)
        assert list(marks(before, after)) == expected


def test_systems_that_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise NotImplementedError("no clock")

    monkeypatch.setattr(psutil, "cpu_freq", refuses)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    found = conditions.read(root=tmp_path, run=silent)
    assert found.clocks == () and found.clock_hz is None and found.on_battery is None
    assert marks(found, found) == ()


def test_a_phone_that_keeps_its_counters_from_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Android: memory may be read, /proc/stat, /proc/vmstat and most of /sys may not."""

    def refuses() -> None:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", refuses)
    machines.put(tmp_path, "proc/meminfo", "MemTotal: 11800000 kB\nSwapTotal: 8388604 kB\nSwapFree: 6000000 kB\n")
    found = conditions.read(root=tmp_path, run=silent)
    assert found.use.busy_seconds is None and found.paging.swapped_bytes is None and found.clocks == ()
    assert found.paging.swap_used_bytes == 2_388_604 * 1024
    assert marks(found, replace(found, monotonic_seconds=found.monotonic_seconds + 9)) == ()


def test_a_short_window_is_not_blamed_for_the_tick_of_a_counter() -> None:
    """Two ticks of 10 ms in 0.2 s are 0.1 of a core, and say nothing; 10 ticks do."""
    before = Use(busy_seconds=1.0, own_seconds=1.0)
    for ticks, n in ((2, 0), (10, 1)):
        after = replace(before, busy_seconds=1.2 + ticks / 100, own_seconds=1.2)
        assert len(conditions._shared(before, after, 0.2)) == n


@pytest.mark.parametrize(("faults", "seconds", "marked"), [(14, 0.2, 0), (16, 0.2, 1), (140, 10.0, 0), (160, 10.0, 1)])
def test_a_few_waits_for_the_disk_are_nothing(faults: int, seconds: float, marked: int) -> None:
    before, after = (Paging(swap_used_bytes=0, major_faults=n) for n in (100, 100 + faults))
    assert len(conditions._faults(before, after, seconds)) == marked


def test_a_reading_is_json() -> None:
    here = conditions.read()
    assert json.loads(json.dumps(asdict(here)))["use"]["own_seconds"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat")
def test_own_work_is_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of this process's work: what is left for others is less than all that was busy by just that second."""
    monkeypatch.undo()
    before, began = conditions.read(), time.process_time()
    while time.process_time() - began < 1:
        pass
    after = conditions.read()
    seconds = after.monotonic_seconds - before.monotonic_seconds
    busy = (after.use.busy_seconds or 0.0) - (before.use.busy_seconds or 0.0)
    others = contention.others_cores(before.use, after.use, seconds=seconds) or 0.0
    assert others * seconds == pytest.approx(max(0.0, busy - 1), abs=0.1)


def test_programs_that_are_not_there_or_fail() -> None:
    assert throttling.run_command(["no-such-program-at-all"]) == ""
    assert throttling.run_command([sys.executable, "-c", "print(7)"]).strip() == "7"
    assert throttling.run_command([sys.executable, "-c", "print(7); raise SystemExit(3)"]) == ""


def test_numbers_of_processors_are_put_together() -> None:
    assert clocks._ranges([5, 0, 1, 2, 7]) == "0-2,5,7"


def test_a_board_that_was_slowed_down_before_it_began(tmp_path: Path) -> None:
    """Nothing changes while it is measured: the system's own limit tells."""
    machines.rk3588(tmp_path)
    cool = read(tmp_path)
    assert [(clock.cpus, clock.max_hz, clock.limit_hz) for clock in cool.clocks] == [
        ("4-7", 2.304e9, 2.304e9),
        ("0-3", 1.8e9, 1.8e9),
    ]
    assert marks(cool, replace(cool, monotonic_seconds=110.0)) == ()
    machines.rk3588(tmp_path, hot=True)
    hot = read(tmp_path)
    assert hot.clock_hz == 2.304e9 and hot.temperature_celsius == 86.076
    said = "throttled: cores 4-7 may clock at 1.42 of their 2.30 GHz"
    assert marks(hot, replace(hot, monotonic_seconds=110.0)) == (said,)
    assert marks(cool, replace(hot, monotonic_seconds=110.0)) == (said,)
    assert marks(hot, replace(cool, monotonic_seconds=110.0)) == (said,)


def test_a_limit_near_the_highest_clock_is_none(tmp_path: Path) -> None:
    machines.cpufreq(tmp_path, range(4), now=2_200_000, highest=2_400_000, limit=2_200_000, governor="ondemand")
    machines.put(tmp_path, "proc/meminfo", "MemTotal: 1 kB\n")
    (clock,) = clocks.clocks(root=tmp_path)
    assert conditions._held_down((clock,), (clock,)) == []
    assert conditions._held_down((replace(clock, limit_hz=None),), ()) == []


def test_what_the_disk_was_read_for(tmp_path: Path) -> None:
    """/proc/self/io of a process that has loaded 145 MB, most of which was in the page cache (proc(5))."""
    text = "rchar: 151234567\nwchar: 220\nsyscr: 1021\nsyscw: 9\nread_bytes: 4096000\nwrite_bytes: 0\n"
    machines.put(tmp_path, "proc/self/io", text)
    assert paging.fetched_bytes(root=tmp_path) == 4_096_000
    assert paging.fetched_bytes(root=tmp_path / "elsewhere") is None
    machines.cloud(tmp_path)
    assert paging.read(root=tmp_path).fetched_bytes == 4_096_000
