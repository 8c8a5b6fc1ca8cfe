"""How fast the engines' kernels multiply on processors that nobody has probed: from instruction sets, cores and clocks.

A rate is a number of multiply-accumulates (MAC) a cycle and core, for one core of reference in each family, times how
many of them another kind of core does a cycle. Nothing here comes from the published speeds that `benchmarks/plan.py`
compares predictions with; every figure has its source beside it, and "guess" where it has none but its neighbours.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..device import Cores, Device


@dataclass(frozen=True, kw_only=True)
class Rate:
    """MAC a cycle of one reference core: of one token (a vector) from its caches, and of many together (a prompt)."""

    decode: float
    prefill: float


#: Zen 4 with AVX-512 VNNI: measured on an EPYC at 3.64 GHz, two threads, with llama-cpp-python 0.3.36 and onnxruntime
#: 1.31.1 in random models of one type (profiles/probing/kernel_speeds.py). F16, F32 and onnx-fp32 read memory at its
#: own speed there, so that their decode is a lower bound
_ZEN4_AVX512 = {
    "Q4_K": Rate(decode=6.8, prefill=17.0),
    "Q8_0": Rate(decode=3.9, prefill=13.1),
    "Q4_0": Rate(decode=6.8, prefill=16.6),
    "Q6_K": Rate(decode=4.7, prefill=20.1),
    "Q5_K": Rate(decode=4.5, prefill=26.6),
    "Q3_K": Rate(decode=5.0, prefill=21.8),
    "Q2_K": Rate(decode=8.3, prefill=10.7),
    "Q5_0": Rate(decode=4.3, prefill=11.1),
    "Q5_1": Rate(decode=4.2, prefill=5.2),
    "Q4_1": Rate(decode=4.4, prefill=5.6),
    "F16": Rate(decode=2.5, prefill=11.2),
    "F32": Rate(decode=1.3, prefill=11.2),
    "onnx-fp32": Rate(decode=1.3, prefill=12.6),
    "onnx-int8": Rate(decode=3.4, prefill=18.4),
    "onnx-int4": Rate(decode=5.0, prefill=15.0),  # guess
    "onnx-w8a8": Rate(decode=3.5, prefill=38.8),
}
#: the same core with llama.cpp's kernels compiled for AVX2 alone; those of onnxruntime: guesses
_ZEN4_AVX2 = {
    "Q4_K": Rate(decode=5.7, prefill=13.5),
    "Q8_0": Rate(decode=3.6, prefill=10.4),
    "Q4_0": Rate(decode=6.7, prefill=11.4),
    "Q6_K": Rate(decode=4.6, prefill=12.2),
    "Q5_K": Rate(decode=4.6, prefill=13.8),
    "Q3_K": Rate(decode=4.8, prefill=12.7),
    "Q2_K": Rate(decode=6.5, prefill=13.0),
    "Q5_0": Rate(decode=3.8, prefill=7.2),
    "Q5_1": Rate(decode=3.9, prefill=4.8),
    "Q4_1": Rate(decode=4.7, prefill=6.2),
    "F16": Rate(decode=2.4, prefill=11.8),
    "F32": Rate(decode=1.3, prefill=11.2),
    "onnx-fp32": Rate(decode=1.3, prefill=11.0),
    "onnx-int8": Rate(decode=3.0, prefill=11.0),
    "onnx-int4": Rate(decode=4.5, prefill=9.0),
    "onnx-w8a8": Rate(decode=2.5, prefill=14.0),
}

#: Cortex-A76 with dot products (2.4 GHz, four threads on a Raspberry Pi 5). Repacked: Q5_K and Q6_K from LFM2-700M and
#: -350M (641 M and 287 M weights a token of a prompt) in llama.cpp pull requests 19356 and 19360; Q4_K as Q6_K, as on
#: an M4 with the same kernels (pull requests 17494 and 19360: 96.1 and 94.8 tokens/s of 8B models); Q8_0 and Q4_0,
#: which have no scales within scales: guesses. Not repacked: the same pull requests, others guessed from them
_A76_DOTPROD = {
    "Q4_K": Rate(decode=3.3, prefill=7.0),
    "Q5_K": Rate(decode=3.1, prefill=5.8),
    "Q6_K": Rate(decode=2.7, prefill=6.9),
    "Q8_0": Rate(decode=3.8, prefill=8.0),
    "Q4_0": Rate(decode=3.8, prefill=8.0),
    "Q4_1": Rate(decode=3.3, prefill=3.3),
    "Q5_0": Rate(decode=3.0, prefill=3.0),
    "Q5_1": Rate(decode=3.0, prefill=3.0),
    "Q3_K": Rate(decode=2.7, prefill=2.7),
    "Q2_K": Rate(decode=3.3, prefill=3.3),
    "F16": Rate(decode=2.0, prefill=4.0),
    "F32": Rate(decode=2.0, prefill=2.5),
    "onnx-fp32": Rate(decode=2.0, prefill=5.0),
    "onnx-int8": Rate(decode=3.8, prefill=7.0),
    "onnx-int4": Rate(decode=3.3, prefill=7.0),
    "onnx-w8a8": Rate(decode=3.0, prefill=9.0),
}
#: Cortex-A72, NEON alone: products of vectors on one core of a Raspberry Pi 4 in llama.cpp pull request 8151 (F16 0.96,
#: Q8_0 2.38, Q4_K 2.32, Q2_K 2.45 billion weights/s), at 1.8 GHz; nothing is repacked, so a prompt is as many such
#: products. Other types: by instructions a block (guesses). ONNX in blocks: unpacked each time, see `kernels.FACTS`
_A72_NEON = {
    "Q4_K": Rate(decode=1.29, prefill=1.29),
    "Q8_0": Rate(decode=1.32, prefill=1.32),
    "Q2_K": Rate(decode=1.36, prefill=1.36),
    "F16": Rate(decode=0.53, prefill=0.53),
    "Q5_K": Rate(decode=1.15, prefill=1.15),
    "Q6_K": Rate(decode=1.05, prefill=1.05),
    "Q3_K": Rate(decode=1.05, prefill=1.05),
    "Q4_0": Rate(decode=1.29, prefill=1.29),
    "Q4_1": Rate(decode=1.29, prefill=1.29),
    "Q5_0": Rate(decode=1.1, prefill=1.1),
    "Q5_1": Rate(decode=1.1, prefill=1.1),
    "F32": Rate(decode=1.0, prefill=1.2),
    "onnx-fp32": Rate(decode=1.0, prefill=3.0),
    "onnx-int8": Rate(decode=0.08, prefill=1.5),
    "onnx-int4": Rate(decode=0.08, prefill=1.5),
    "onnx-w8a8": Rate(decode=1.2, prefill=3.0),
}
_I8MM_GAIN = 1.05  # llama.cpp pull requests 16739 and 17494: 98.4 and 96.1 tokens/s with and without, on an M4
_SSE_SHARE = 0.4  # of AVX2's: half as wide, and no repacked kernels (guess)

#: (instruction sets of which one is enough, rates of the reference core, units of cores, a factor), first that fits
_FAMILIES: tuple[tuple[tuple[str, ...], Mapping[str, Rate], str, float], ...] = (
    (("avx512_vnni",), _ZEN4_AVX512, "x86", 1.0),
    (("avx2",), _ZEN4_AVX2, "x86", 1.0),
    (("sse4_2",), _ZEN4_AVX2, "x86", _SSE_SHARE),
    (("i8mm",), _A76_DOTPROD, "arm", _I8MM_GAIN),
    (("dotprod",), _A76_DOTPROD, "arm", 1.0),
    (("neon",), _A72_NEON, "neon", 1.0),
)
#: vector work a cycle, in units of the family's reference core. x86: 256-bit operations a cycle, of which Gracemont's
#: and Crestmont's 128-bit units do half as many (Intel's optimisation manual; Skymont has twice as many of them).
#: ARM: 128-bit vector units, two in an A76 and four in an X1, X4 or an Apple performance core (Arm's optimisation
#: guides; an M4's did 2.6 times an A76's work a cycle in pull request 19360); small in-order cores do a third
#: Every kind of core in devices/*.toml is here, those that do as much as the reference too; others count as it does
_CORES: Mapping[str, Mapping[str, float]] = {
    "x86": {
        **dict.fromkeys(("Zen 4", "Zen 5", "Zen 5c", "Raptor Cove", "Redwood Cove", "performance core"), 1.0),
        **dict.fromkeys(("x86-64 core", "virtual x86-64 core"), 1.0),  # nothing more is known of them
        **dict.fromkeys(("Gracemont", "Crestmont", "Crestmont LP", "low-power core", "efficient core"), 0.5),
        "Skymont": 0.9,
        **dict.fromkeys(("Zen 2", "Zen 3", "Skylake"), 0.9),
    },
    "arm": {
        "Cortex-A76": 1.0,
        **dict.fromkeys(("Cortex-A53", "Cortex-A55", "Cortex-A510", "Cortex-A520"), 0.33),
        **dict.fromkeys(
            ("Cortex-A77", "Cortex-A78", "Cortex-A78AE", "Cortex-A710", "Cortex-A715", "Cortex-A720"), 1.15
        ),
        **dict.fromkeys(("Cortex-X1", "Cortex-X2", "Cortex-X3", "Cortex-X4", "Neoverse-V1", "Neoverse-V2"), 2.2),
        **dict.fromkeys(("Firestorm", "Avalanche", "M3 performance", "M4 performance"), 2.4),
        **dict.fromkeys(("Icestorm", "Blizzard", "M3 efficiency", "M4 efficiency"), 0.8),
    },
    "neon": {"Cortex-A72": 1.0, **dict.fromkeys(("Cortex-A53", "Cortex-A35"), 0.5)},
}
#: what is left of the clock that a core is sold with once all of them multiply: boards hold theirs, x86 chips are sold
#: by what one core may do for a moment (an N100: 3.4 GHz, 2.9 with all four, Intel's specification; 2.2 under the power
#: cap of the small boxes that it comes in, ThomasKaiser/sbc-bench issue 63)
_HELD = {"x86": 0.85, "arm": 1.0, "neon": 1.0}
_CAPPED = {"Gracemont": 0.65}


@dataclass(frozen=True, kw_only=True)
class Family:
    """The kernels that a device's instruction sets choose, and the units of its cores."""

    rates: Mapping[str, Rate]
    name: str
    factor: float


def family(isa: Collection[str]) -> Family | None:
    """The fastest kernels that these instruction sets allow; None where they are not known."""
    for needed, rates, name, factor in _FAMILIES:
        if set(needed) & set(isa):
            return Family(rates=rates, name=name, factor=factor)
    return None


def cycles_per_second(device: Device, threads: int) -> float | None:
    """Cycles of the cores that so many threads run on, in units of the family's reference core; None if not known."""
    found = family(device.isa)
    taken = _taken(device.cores, threads)
    if not found or not taken or any(cores.clock_hz is None for cores in taken):
        return None
    units, held = _CORES[found.name], _HELD[found.name]
    per_kind = (
        each.count * (each.clock_hz or 0.0) * _CAPPED.get(each.kind, held) * units.get(each.kind, 1.0) for each in taken
    )
    return sum(per_kind) * found.factor


def _taken(cores: tuple[Cores, ...], threads: int) -> list[Cores]:
    """The cores that so many threads run on, the fastest first."""
    taken, left = [], threads
    for each in cores:
        n = min(each.count, left)
        left -= n
        if n:
            taken.append(Cores(kind=each.kind, count=n, clock_hz=each.clock_hz))
    return taken


def rate(device: Device, type_: str, *, prefill: bool) -> float | None:
    """Weights a second with a type, on as many threads as the device takes; None where nothing is known of it."""
    found = family(device.isa)
    cycles = cycles_per_second(device, device.prefill_threads if prefill else device.decode_threads)
    row = found and found.rates.get(_STAND_INS.get(type_, type_))
    if not row or cycles is None:
        return None
    return cycles * (row.prefill if prefill else row.decode)


#: types that are computed as another is
_STAND_INS = {
    "BF16": "F16",
    "onnx-int4-gptq": "onnx-int4",
    "onnx-int4-rtn": "onnx-int4",
    "onnx-int8-dynamic": "onnx-w8a8",
    "onnx-int8-static": "onnx-w8a8",
}
