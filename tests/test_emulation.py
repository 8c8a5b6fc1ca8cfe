"""What a smaller device means on a bigger machine, and a bigger one on a smaller."""

from dataclasses import replace

from edgequant.profiles import device
from edgequant.profiles.machine.host import Limits, Machine
from edgequant.profiles.measuring.emulation import emulate

LAPTOP = Machine(
    cpu="i7", logical_cpus=16, physical_cores=8, limits=Limits(), total_bytes=16 << 30, available_bytes=12 << 30, isa=()
)
PI = device.load("rpi4-2gb")


def test_a_laptop_is_held_to_a_pi() -> None:
    found = emulate(PI, LAPTOP)
    assert (found.prefill_threads, found.decode_threads) == (PI.prefill_threads, PI.decode_threads) == (4, 4)
    assert found.limit_bytes == PI.usable_ram_bytes < 2 << 30
    assert found.meaning.startswith("4 threads, memory held to the 1.") and "speeds are this machine's" in found.meaning


def test_a_machine_of_two_cores_has_no_more_than_two_threads() -> None:
    pi = replace(PI, prefill_threads=4, decode_threads=1)
    found = emulate(pi, replace(LAPTOP, physical_cores=2))
    assert (found.prefill_threads, found.decode_threads) == (2, 1)
    assert found.meaning.startswith("1 thread (2 in prefill), ")


def test_more_memory_than_there_is_cannot_be_held() -> None:
    found = emulate(device.load("ryzen-7840u-32gb"), LAPTOP)
    assert found.limit_bytes is None and "memory not held" in found.meaning
    within = replace(LAPTOP, limits=Limits(memory_bytes=10**9))
    assert emulate(PI, within).limit_bytes is None


def test_this_machine_is_itself() -> None:
    found = emulate(replace(PI, is_host=True), LAPTOP)
    assert found.limit_bytes is None and found.decode_threads == 4
