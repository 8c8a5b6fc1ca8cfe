"""What `--device rpi4-2gb` means on a bigger machine: the device's memory and threads, this machine's speed."""

from dataclasses import dataclass

from ..device import Device
from ..machine.confinement import DATA, NONE
from ..machine.host import Machine
from .variant import Variant


@dataclass(frozen=True, kw_only=True)
class Emulation:
    """How a process here is kept within a device; `limit_bytes` is for `confinement.confine`, None for no limit.

    `most_threads` is what a variant may ask for; None for as many as it likes.
    """

    device: str
    prefill_threads: int
    decode_threads: int
    limit_bytes: int | None
    most_threads: int | None

    def threads(self, wanted: int | None) -> int | None:
        """What a variant gets of the threads that it asks for; None where it asks for none."""
        return wanted and min(wanted, self.most_threads or wanted)

    def memory_bytes(self, wanted: int | None) -> int | None:
        """The tighter of a variant's limit and the device's; None for no limit."""
        return min((limit for limit in (wanted, self.limit_bytes) if limit), default=None)

    def held_back(self, variant: Variant) -> str:
        """What a variant asks for and the device does not have, in words; "" where it has all."""
        most, limit, asked = self.most_threads, self.limit_bytes, variant.limit_memory_bytes
        wanted = dict.fromkeys((variant.threads, variant.prefill_threads))
        said = [f"{self.device} has {most} cores, not {n}" for n in wanted if n and most and n > most]
        said += [f"{self.device} leaves {_size(limit)} to a program"] if asked and limit and asked > limit else []
        return "; ".join(said)

    def meaning(self, kind: str = "") -> str:
        """How a process was kept within the device, in words, where memory was limited in the way `kind`."""
        threads = f"{self.decode_threads} thread{'s' if self.decode_threads > 1 else ''}"
        threads += f" ({self.prefill_threads} in prefill)" if self.prefill_threads != self.decode_threads else ""
        return f"{threads}, {self._memory(kind)}; speeds are this machine's"

    def _memory(self, kind: str) -> str:
        if self.limit_bytes is None:
            return f"memory not held: this machine has less of it than {self.device}"
        if kind == NONE:
            return "memory not held: this system offers no limit"
        held = "private memory alone" if kind == DATA else "memory"
        by = f" ({kind})" if kind else ""
        return f"{held} held to the {_size(self.limit_bytes)} that {self.device} leaves to a program{by}"


def emulate(device: Device, here: Machine) -> Emulation:
    """No more threads and no more memory than the device has, nor than this machine has.

    Memory is what the device's system leaves to a program. The processor's and the memory's speed stay this machine's,
    and so do its instruction sets: a figure measured so is shown as the host's, beside the prediction for the device.
    """
    prefill, decode = (min(n, here.threads) for n in (device.prefill_threads, device.decode_threads))
    fits = not device.is_host and device.usable_ram_bytes <= here.memory_bytes
    return Emulation(
        device=device.name,
        prefill_threads=prefill,
        decode_threads=decode,
        limit_bytes=device.usable_ram_bytes if fits else None,
        most_threads=None if device.is_host else device.n_cores,
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB"
