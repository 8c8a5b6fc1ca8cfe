"""What macOS and Windows tell of their processor, where there is no /proc: through sysctl, the registry and numpy."""

import importlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache

_TIMEOUT_SECONDS = 5.0
#: numpy's spelling -> ours, where nothing else tells; numpy names neither avx_vnni nor i8mm
_NUMPY_NAMES = {
    "SSE42": "sse4_2",
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA3": "fma",
    "F16C": "f16c",
    "AVX512F": "avx512f",
    "AVX512VNNI": "avx512_vnni",
    "AVX512BF16": "avx512_bf16",
    "AVX512FP16": "avx512_fp16",
    "ASIMD": "neon",
    "ASIMDDP": "dotprod",
    "ASIMDHP": "fp16",
    "SVE": "sve",
}
#: sysctl's spelling (hw.optional.arm) -> ours; every Apple chip has NEON
_MAC_NAMES = {
    "FEAT_DotProd": "dotprod",
    "FEAT_FP16": "fp16",
    "FEAT_LSE": "atomics",
    "FEAT_I8MM": "i8mm",
    "FEAT_BF16": "bf16",
    "FEAT_SME": "sme",
}
_LEVELS = [f"hw.perflevel{level}.{key}" for level in range(3) for key in ("name", "physicalcpu")]
_ASKED = ("machdep.cpu.brand_string", "hw.nperflevels", *_LEVELS, *(f"hw.optional.arm.{name}" for name in _MAC_NAMES))


def told() -> Mapping[str, str]:
    """What sysctl says on macOS, {} elsewhere."""
    return _sysctl(_ASKED) if platform.system() == "Darwin" else {}


def cpu_name(values: Mapping[str, str]) -> str:
    """The processor's name as its maker writes it, from sysctl's values or Windows' registry; "" where none says."""
    return values.get("machdep.cpu.brand_string", "") or _registry_name()


def isa(values: Mapping[str, str]) -> tuple[str, ...]:
    """Instruction sets: those of an Apple chip by sysctl's values, else those that numpy found."""
    if any(key.startswith("hw.optional.arm.") for key in values):
        return ("neon", *(ours for name, ours in _MAC_NAMES.items() if values.get(f"hw.optional.arm.{name}") == "1"))
    found = _numpy_features()
    return tuple(ours for theirs, ours in _NUMPY_NAMES.items() if found.get(theirs))


def parse_sysctl(text: str) -> dict[str, str]:
    """sysctl's lines "name: value"."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, found, value in pairs if found}


@cache
def _sysctl(names: Sequence[str]) -> Mapping[str, str]:
    """Names that this version of macOS does not know are left out, and said on its standard error."""
    try:
        run = subprocess.run(
            ["/usr/sbin/sysctl", *names], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_sysctl(run.stdout)


def _registry_name() -> str:
    """Windows keeps the name that the processor gives itself; platform.processor() has family numbers instead."""
    try:
        registry = importlib.import_module("winreg")
        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key) as opened:
            return str(registry.QueryValueEx(opened, "ProcessorNameString")[0]).strip()
    except (ImportError, OSError):
        return ""


def _numpy_features() -> Mapping[str, bool]:
    """What numpy chooses its own kernels by; what `numpy.show_runtime` prints, empty where a version has moved it."""
    try:
        module = importlib.import_module("numpy._core._multiarray_umath")
    except ImportError:
        return {}
    features: Mapping[str, bool] = getattr(module, "__cpu_features__", {})
    return features
