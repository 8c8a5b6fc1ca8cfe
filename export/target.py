"""What wheels for a device have to be made for: its machine, its instructions, and the compiler that writes them."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from .. import Error
from ..profiles.device import Device

PYTHONS = ("3.11", "3.13")  # those of Debian 12 and 13, and so of Raspberry Pi OS
#: beginnings of profile names -> what runs there instead of Linux with glibc
_OTHER_SYSTEMS = {"macbook": "macOS", "snapdragon": "Android"}
#: our name of an instruction set -> CMake's option of ggml that uses it (vendor/llama.cpp/ggml/CMakeLists.txt); AMX
#: stays out, for many virtual machines announce it and refuse it
_X86_OPTIONS = {
    "sse4_2": "GGML_SSE42",
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "fma": "GGML_FMA",
    "f16c": "GGML_F16C",
    "avx_vnni": "GGML_AVX_VNNI",
    "avx512f": "GGML_AVX512",
    "avx512_vnni": "GGML_AVX512_VNNI",
    "avx512_bf16": "GGML_AVX512_BF16",
}
#: our names -> the kernel's in /proc/cpuinfo, for the installer to ask there
_CPUINFO_NAMES = {"dotprod": "asimddp", "fp16": "asimdhp"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """`needs` are flags of /proc/cpuinfo without which the compiled code would die of SIGILL."""

    machine: str  # as `uname -m` says it: "aarch64" | "x86_64"
    architecture: str  # "armv8-a", or for x86 the instruction sets joined by "+"
    cmake: Mapping[str, str]
    needs: tuple[str, ...]

    @property
    def triplet(self) -> str:
        """What begins the names of GNU's tools for that machine."""
        return f"{self.machine}-linux-gnu"

    @property
    def is_native(self) -> bool:
        """Whether this machine's own compiler writes code for it."""
        return platform.machine() == self.machine

    def tool(self, name: str) -> str:
        """The compiler's command: "gcc" or "g++"."""
        return name if self.is_native else f"{self.triplet}-{name}"


def target_of(device: Device) -> Target:
    """What to compile for; `Error` where the device does not run Linux with glibc."""
    system = next((s for start, s in _OTHER_SYSTEMS.items() if device.name.startswith(start)), "Linux")
    system = platform.system() if device.is_host else system
    if system != "Linux":
        raise Error(
            f"there are no wheels for {system}: a wheelhouse is for Linux on 64-bit ARM or x86",
            hint="bundle without --device and install edgequant there with pip",
        )
    return _arm(device.isa) if "neon" in device.isa else _x86(device.isa)


def _arm(isa: tuple[str, ...]) -> Target:
    """Two builds serve every board: with dot products and half floats, and without (Pi 3, Pi 4, Zero 2 W)."""
    quick = {"dotprod", "fp16"} <= set(isa)
    architecture = "armv8.2-a+dotprod+fp16" if quick else "armv8-a"
    return Target(
        machine="aarch64",
        architecture=architecture,
        cmake={"GGML_NATIVE": "OFF", "GGML_CPU_ARM_ARCH": architecture},
        needs=tuple(_CPUINFO_NAMES.values()) if quick else (),
    )


def _x86(isa: tuple[str, ...]) -> Target:
    options = {option: "ON" if name in isa else "OFF" for name, option in _X86_OPTIONS.items()}
    found = tuple(name for name in _X86_OPTIONS if name in isa)
    bmi2 = "ON" if "avx2" in isa else "OFF"  # every processor with AVX2 has it
    return Target(
        machine="x86_64",
        architecture="+".join(found),
        cmake={"GGML_NATIVE": "OFF", **options, "GGML_BMI2": bmi2},
        needs=found,
    )
