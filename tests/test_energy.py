"""Energy from recorded counters of a laptop and a Raspberry Pi 5; machines that do not tell have no meter."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import machines
from edgequant.profiles.machine import energy
from edgequant.profiles.machine.energy import PiMeter, RaplMeter
from edgequant.profiles.measuring import speed


def silent(words: Sequence[str]) -> str:
    return ""


def meter(root: Path) -> energy.Meter:
    found = energy.meter(root=root, run=silent)
    assert found
    return found


def test_the_package_counts_and_nothing_twice(tmp_path: Path) -> None:
    machines.rapl(tmp_path, microjoules=5_000_000)
    counting = meter(tmp_path)
    assert counting.joules() == 0.0 and "package" in counting.covers
    machines.rapl(tmp_path, microjoules=47_500_000, dram=2 * 10**9)
    assert counting.joules() == 42.5
    machines.rapl(tmp_path, microjoules=48_500_000)
    assert counting.joules() == 43.5
    counting.close()


def test_the_counter_wraps(tmp_path: Path) -> None:
    """From 1 J below the end of the range to 2 J: 3 J, the range's own end left out."""
    wraps = 262_143_328_850
    machines.rapl(tmp_path, microjoules=wraps - 1_000_000)
    counting = meter(tmp_path)
    machines.rapl(tmp_path, microjoules=2_000_000)
    assert counting.joules() == 3.0


def test_two_packages_are_added(tmp_path: Path) -> None:
    machines.rapl(tmp_path, microjoules=0)
    for name, value in (("name", "package-1"), ("energy_uj", "0"), ("max_energy_range_uj", "262143328850")):
        machines.put(tmp_path, f"sys/class/powercap/intel-rapl:2/{name}", value)
    counting = meter(tmp_path)
    machines.rapl(tmp_path, microjoules=1_000_000)
    machines.put(tmp_path, "sys/class/powercap/intel-rapl:2/energy_uj", "500000")
    assert counting.joules() == 1.5


def test_counters_for_root_alone_are_no_meter(tmp_path: Path) -> None:
    """What cannot be read is as good as not there, and `absence` says how to mend it."""
    machines.rapl(tmp_path, microjoules=1)
    file = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    file.unlink()
    file.mkdir()  # root may read every file, but no folder as one
    assert energy.meter(root=tmp_path, run=silent) is None
    assert "chmod" in energy.absence(root=tmp_path)


def test_a_machine_that_does_not_tell(tmp_path: Path) -> None:
    assert energy.meter(root=tmp_path, run=silent) is None
    assert energy.absence(root=tmp_path) == "this machine does not tell what it draws"


def test_the_rails_of_a_raspberry_pi_5() -> None:
    """Worked by hand, rail by rail in milliwatts: VDD_CORE 544.5, 3V7 344.4, 1V8 330.5, 0V8_SW 291.1, 1V1 210.9,
    3V3_SYS 203.7, HDMI 69.1, VDD2 32.4, AON 3.7, ADC 1.0, DAC 0.2, VDDQ 0."""
    assert energy.rail_watts(machines.PI_5_RAILS) == pytest.approx(2.0315, abs=2e-4)
    assert energy.rail_watts("") is None
    assert energy.rail_watts("EXT5V_V volt(24)=5.15014000V\nUSB_A current(26)=0.50000000A\n") is None
    assert energy.rail_watts('Command not registered\nerror=1 error_msg="Command not registered"') is None


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def rails(watts: float) -> str:
    return f"VDD_CORE_A current(7)={watts:.8f}A\nVDD_CORE_V volt(15)=1.00000000V\n"


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No samples but those that are asked for."""
    monkeypatch.setattr(energy, "SAMPLES_PER_SECOND", 1e-3)


def test_samples_are_joined_by_straight_lines(still: None) -> None:
    """2 W rising to 6 W over 3 s are 12 J; 6 W for 2 s more are 12 J more; a sample that fails is the last again."""
    clock, answers = Clock(), iter([rails(2), rails(6), rails(6), ""])
    counting = PiMeter(lambda words: next(answers), clock=clock)
    clock.now += 3
    assert counting.joules() == pytest.approx(12)
    clock.now += 2
    assert counting.joules() == pytest.approx(24)
    clock.now += 1
    assert counting.joules() == pytest.approx(30)
    counting.close()


def test_samples_are_taken_beside_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SAMPLES_PER_SECOND", 200.0)
    taken: list[Sequence[str]] = []

    def run(words: Sequence[str]) -> str:
        taken.append(words)
        return rails(4)

    counting = PiMeter(run)
    while len(taken) < 4:
        time.sleep(0.005)
    assert counting.joules() > 0
    counting.close()
    n = len(taken)
    time.sleep(0.03)
    assert len(taken) == n, "closed is closed"


def test_a_pi_5_has_a_meter(tmp_path: Path, still: None) -> None:
    counting = energy.meter(root=tmp_path, run=machines.pi_5(tmp_path))
    assert isinstance(counting, PiMeter) and "5 V" in counting.covers
    counting.close()
    assert energy.meter(root=tmp_path, run=machines.pi_4(tmp_path)) is None


def test_what_is_drawn_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 J in 2 s."""
    moments: Iterator[float] = iter([50.0, 52.0])
    monkeypatch.setattr(energy.time, "monotonic", lambda: next(moments))
    slept: list[float] = []
    monkeypatch.setattr(energy.time, "sleep", slept.append)

    class Counting:
        covers = ""
        readings = iter([7.0, 17.0])

        def joules(self) -> float:
            return next(self.readings)

        def close(self) -> None: ...

    assert energy.idle_watts(Counting(), 2.0) == 5.0 and slept == [2.0]


def test_this_machine_is_asked_without_harm() -> None:
    found = energy.meter()
    assert found is None or found.joules() >= 0
    assert isinstance(found, RaplMeter | PiMeter | None)
    if found:
        found.close()


class Drawing:
    """A meter and a clock in one: whatever is done takes a second, and as many joules as it says."""

    covers = "the board"

    def __init__(self) -> None:
        self.now = self.total = 0.0

    def does(self, joules: float) -> Callable[[], None]:
        def work() -> None:
            self.now += 1.0
            self.total += joules

        return work

    def joules(self) -> float:
        return self.total

    def perf_counter(self) -> float:
        return self.now

    def close(self) -> None: ...


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Drawing:
    made = Drawing()
    monkeypatch.setattr(speed.time, "perf_counter", made.perf_counter)
    return made


def test_only_the_work_is_metered(drawing: Drawing) -> None:
    """5 J a pass, of which 2 J are those of a second at rest; what comes before each, 100 J, is none of it."""
    assert speed._joules(drawing, 2.0, drawing.does(5.0), drawing.does(100.0)) == pytest.approx(3.0)


@pytest.mark.parametrize("drawn", [2.0, 1.5])
def test_what_drowns_in_the_noise_is_no_figure(drawing: Drawing, drawn: float) -> None:
    assert speed._joules(drawing, 2.0, drawing.does(drawn), drawing.does(0.0)) is None


def test_a_phase_without_a_figure_is_left_out(drawing: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt of 10 tokens for 30 J beyond rest, an answer for nothing."""
    monkeypatch.setattr(energy, "meter", lambda: drawing)
    nothing = drawing.does(0.0)
    loop: Any = SimpleNamespace(
        prefill=drawing.does(32.0), decode=drawing.does(1.0), n_prompt=10, n_generate=4,
        rewind=lambda keep_prompt=False: nothing(),
    )  # fmt: skip
    assert speed._energy(loop, 2.0) == {"joules_per_token_prefill": [3.0]}
    assert speed._energy(loop, None) == {}


def test_a_measurement_says_what_its_meter_covers_or_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "meter", Drawing)
    monkeypatch.setattr(energy, "idle_watts", lambda counting, seconds: 1.5)
    assert speed._metered() == {"covers": "the board", "idle_watts": 1.5}
    monkeypatch.setattr(energy, "meter", lambda: None)
    monkeypatch.setattr(energy, "absence", lambda: "nobody tells")
    assert speed._metered() == {"absent": "nobody tells"}
