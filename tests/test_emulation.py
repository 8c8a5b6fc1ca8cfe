"""What a smaller device means on a bigger machine, and a bigger one on a smaller."""

from dataclasses import replace

import pytest

from edgequant.profiles import device
from edgequant.profiles.machine.confinement import DATA, NONE, V2
from edgequant.profiles.machine.host import Limits, Machine
from edgequant.profiles.measuring.emulation import emulate
from edgequant.profiles.measuring.variant import Variant

LAPTOP = Machine(
    cpu="i7", logical_cpus=16, physical_cores=8, limits=Limits(), total_bytes=16 << 30, available_bytes=12 << 30, isa=()
)
PI = device.load("rpi4-2gb")


def test_a_laptop_is_held_to_a_pi() -> None:
    found = emulate(PI, LAPTOP)
    assert (found.prefill_threads, found.decode_threads) == (PI.prefill_threads, PI.decode_threads) == (4, 4)
    assert found.limit_bytes == PI.usable_ram_bytes < 2 << 30


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (V2, "4 threads, memory held to the 1.80 GB that rpi4-2gb leaves to a program (cgroup v2); speeds are this"),
        (DATA, "4 threads, private memory alone held to the 1.80 GB that rpi4-2gb leaves to a program (RLIMIT_DATA); "),
        (NONE, "4 threads, memory not held: this system offers no limit; speeds are this machine's"),
    ],
)
def test_only_what_was_held_is_said_to_be(kind: str, said: str) -> None:
    assert emulate(PI, LAPTOP).meaning(kind).startswith(said)


def test_a_machine_of_two_cores_has_no_more_than_two_threads() -> None:
    pi = replace(PI, prefill_threads=4, decode_threads=1)
    found = emulate(pi, replace(LAPTOP, physical_cores=2))
    assert (found.prefill_threads, found.decode_threads) == (2, 1)
    assert found.meaning().startswith("1 thread (2 in prefill), ")


def test_more_memory_than_there_is_cannot_be_held() -> None:
    found = emulate(device.load("ryzen-7840u-32gb"), LAPTOP)
    assert found.limit_bytes is None and "memory not held: this machine has less" in found.meaning()
    within = replace(LAPTOP, limits=Limits(memory_bytes=10**9))
    assert emulate(PI, within).limit_bytes is None


def test_this_machine_is_itself() -> None:
    found = emulate(replace(PI, is_host=True), LAPTOP)
    assert found.limit_bytes is None and found.decode_threads == 4
    assert (found.threads(16), found.memory_bytes(8 * 10**9)) == (16, 8 * 10**9)
    assert found.held_back(Variant(threads=16, limit_memory_bytes=8 * 10**9)) == ""


def test_a_variant_gets_no_more_than_the_device_has() -> None:
    found = emulate(PI, LAPTOP)
    assert [found.threads(n) for n in (None, 1, 4, 16)] == [None, 1, 4, 4]
    usable = PI.usable_ram_bytes
    assert [found.memory_bytes(n) for n in (None, 10**9, 8 * 10**9)] == [usable, 10**9, usable]
    assert found.held_back(Variant(threads=4, limit_memory_bytes=10**9)) == ""
    asked = Variant(threads=16, prefill_threads=8, limit_memory_bytes=8 * 10**9)
    assert found.held_back(asked) == (
        "rpi4-2gb has 4 cores, not 16; rpi4-2gb has 4 cores, not 8; rpi4-2gb leaves 1.80 GB to a program"
    )
