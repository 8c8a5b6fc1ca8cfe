"""What `--device rpi4-2gb` means on a bigger machine: the device's memory and threads, this machine's speed."""

from dataclasses import dataclass

from ..device import Device
from ..machine.host import Machine


@dataclass(frozen=True, kw_only=True)
class Emulation:
    """How a process here is kept within a device; `limit_bytes` is for `confinement.confine`, None for no limit."""

    prefill_threads: int
    decode_threads: int
    limit_bytes: int | None
    meaning: str


def emulate(device: Device, here: Machine) -> Emulation:
    """No more threads and no more memory than the device has, nor than this machine has.

    Memory is what the device's system leaves to a program. The processor's and the memory's speed stay this machine's,
    and so do its instruction sets: a figure measured so is shown as the host's, beside the prediction for the device.
    """
    prefill, decode = (min(n, here.threads) for n in (device.prefill_threads, device.decode_threads))
    if device.is_host:
        return Emulation(
            prefill_threads=prefill, decode_threads=decode, limit_bytes=None, meaning="this machine itself"
        )
    fits = device.usable_ram_bytes <= here.memory_bytes
    memory = (
        f"memory held to the {device.usable_ram_bytes / 1e9:.2f} GB that {device.name} leaves to a program"
        if fits
        else f"memory not held: this machine has less of it than {device.name}"
    )
    return Emulation(
        prefill_threads=prefill,
        decode_threads=decode,
        limit_bytes=device.usable_ram_bytes if fits else None,
        meaning=f"{_threads(prefill, decode)}, {memory}; speeds are this machine's",
    )


def _threads(prefill: int, decode: int) -> str:
    words = f"{decode} thread{'s' if decode > 1 else ''}"
    return words if prefill == decode else f"{words} ({prefill} in prefill)"
