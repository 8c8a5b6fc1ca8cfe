"""Predicted speeds: of a prompt and of the tokens after it, each with the interval that it is expected in.

The model, in seconds:

    token  = token_seconds + layers x (layer_seconds + attention_seconds) + products x product_seconds
             + sum over types of max(bytes / bandwidth, weights / decode rate)
             + max(key and value bytes / bandwidth, attention's products / its rate)
    prompt = the same fixed costs for each batch + tokens x sum over types of weights / prefill rate
             + the head once + attention's products / the rate of float16's

Rates and costs come from a probe of the machine (`device.kernels`), whose rates of decode hold what memory takes
already, else from its profile (`kernel_rates`). Rows that were measured there of the same model correct both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from ...convert.formats import FORMATS
from ...convert.ladder import BLOCKS
from ..device import Device, KernelSpeed
from . import kernel_rates, onnx_footprint
from .work import Products, Work

PROMPT_TOKENS, ANSWER_TOKENS = 256, 32  # what is predicted is what `edgequant profile` measures
_BATCHES = {"gguf": 512, "onnx": 128}  # tokens of a prompt that the engines compute at once
#: what products of a matrix and a vector read of what plain reading does: 84 to 91 % on a Raspberry Pi 5, from Q2_K to
#: Q8_0 (llama.cpp issue 26484: 9.8 to 10.6 of 11.6 GB/s)
_OF_READING = 0.88
#: bytes on the bus for each byte of a copy: one is read, one written, and on x86 the line to be written is read before
#: (STREAM's "write allocate"); ARM's cores recognise streams of stores and write without reading
_COPY_TRAFFIC = {"x86": 3.0, "arm": 2.0, "neon": 2.0}
_OF_DATA_SHEET = (
    0.75  # of the bus's rate is what reading reaches at best: between 0.68 (Pi 5) and 0.8 (x86 with STREAM)
)
#: what a layer costs besides its products, in cycles: some fifteen operations that all threads wait for each other at
#: (measured on Zen 4 with two threads: 13 to 23 microseconds at 3.64 GHz), a tenth more for each further thread
_LAYER_CYCLES, _LAYER_MORE_THREADS = 60_000.0, 0.1
_TOKEN_CYCLES = 70_000.0  # measured there: 17 to 22 microseconds
_USUAL_CLOCK_HZ = 2e9  # of a device whose profile states none
#: what a product costs besides its weights: SmolLM2's 211 small ones took 0.7 ms more than as many weights in large
#: ones, on two threads and on one (measured on Zen 4 at 3.64 GHz)
_PRODUCT_CYCLES = 12_000.0
#: of attention in decode: what a layer costs where the keys are shared out among threads, and multiply-accumulates a
#: cycle and core, exponentials and float16 conversions included (measured there: SmolLM2, 8 to 1,032 tokens back)
_ATTENTION_CYCLES, _ATTENTION_MACS = 130_000.0, 2.8
_REAL = (
    0.88  # of a probe's rates, whose files lie in memory as they were written (seen: 7.4 ms of a copy, 8.5 of a file)
)
_ATTENTION_RATE = 0.5  # of a prompt's products with float16 weights: attention multiplies in smaller pieces (guess)
#: basis -> metric -> factors down and up to the ends of the interval. Data sheet: what the published rows stray, with
#: room; probe and rows: what formats strayed from each other on the machine it was measured on (benchmarks/plan.py)
SPREADS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "data sheet": {"decode": (0.65, 1.5), "prefill": (0.55, 1.8)},
    "probe": {"decode": (0.75, 1.35), "prefill": (0.7, 1.45)},
    "measured rows": {"decode": (0.85, 1.2), "prefill": (0.8, 1.25)},
}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens a second, the ends of the interval, and what they rest on: a key of SPREADS."""

    tokens_per_second: float
    low: float
    high: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What predictions take of a device for one engine; rates in weights a second by type, bandwidth in bytes a second.

    `holds_memory` of types whose rate of decode was measured on matrices in memory, and holds what reading them takes.
    """

    bandwidth: float | None
    decode: Mapping[str, float]
    prefill: Mapping[str, float]
    holds_memory: frozenset[str]
    layer_seconds: float
    token_seconds: float
    product_seconds: float
    attention_seconds: float
    attention_rate: float
    basis: str


def lengths(context: int) -> tuple[int, int]:
    """Tokens of the prompt and of the answer that speeds are predicted for, and measured with, at a context."""
    return min(PROMPT_TOKENS, context * 3 // 4), min(ANSWER_TOKENS, context // 4)


def machine(device: Device, container: str, types: Iterable[str]) -> Machine:
    """The figures of a device for an engine, as far as a probe or its profile tells them."""
    types = set(types) | {"F16" if container == "gguf" else "onnx-fp32"}
    probed = _probed(device, container)
    decode = _rates(device, types, probed, prefill=False)
    prefill = _rates(device, types, probed, prefill=True)
    return Machine(
        bandwidth=effective_bandwidth(device, probed.values()),
        decode=decode,
        prefill=prefill,
        holds_memory=frozenset(probed),
        layer_seconds=_layer_seconds(device, probed.values()),
        token_seconds=_token_seconds(device, probed.values()),
        product_seconds=_PRODUCT_CYCLES / clock(device),
        attention_seconds=_ATTENTION_CYCLES / clock(device),
        attention_rate=_ATTENTION_MACS * device.decode_threads * clock(device),
        basis="probe" if probed else "data sheet",
    )


def _probed(device: Device, container: str) -> dict[str, tuple[KernelSpeed, KernelSpeed]]:
    """Type -> what a probe measured with the threads of decode and with those of prefill, or the nearest count."""
    found: dict[str, tuple[KernelSpeed, KernelSpeed]] = {}
    for kind in {row.type for row in device.kernels if row.container == container}:
        rows = [row for row in device.kernels if row.container == container and row.type == kind]
        decode, prefill = (
            min(rows, key=lambda row: abs(row.threads - wanted))
            for wanted in (device.decode_threads, device.prefill_threads)
        )
        found[kind] = decode, prefill
    return found


def _rates(
    device: Device, types: Iterable[str], probed: Mapping[str, tuple[KernelSpeed, KernelSpeed]], *, prefill: bool
) -> dict[str, float]:
    """Measured rates, and for other types the profile's, scaled by how the measured ones stand to it."""
    measured = {
        kind: rows[1].weights_per_second_prefill if prefill else _REAL * rows[0].weights_per_second_decode
        for kind, rows in probed.items()
    }
    expected = {kind: kernel_rates.rate(device, kind, prefill=prefill) for kind in {*types, *measured}}
    ratios = [rate / told for kind, rate in measured.items() if (told := expected[kind])]
    scale = median(ratios) if ratios else 1.0
    return {**{kind: scale * told for kind, told in expected.items() if told}, **measured}


def effective_bandwidth(device: Device, probed: Iterable[tuple[KernelSpeed, KernelSpeed]] = ()) -> float | None:
    """Bytes a second that products with a vector read; None where the profile has no figure of memory.

    Of a probe the fastest that one of its kernels read, less what its rates are less by (`_REAL`), for files of other
    types lie in memory alike; else what is known of the memory, less what products lose.
    """
    read = [row.weights_per_second_decode * size for row, _ in probed if (size := _bytes_per_weight(row.type))]
    if read:
        return _REAL * max(read)
    family = kernel_rates.family(device.isa)
    known = device.measured_bandwidth_bytes_per_second
    sheet = device.theoretical_bandwidth_bytes_per_second
    best = sheet * _OF_DATA_SHEET if sheet else None
    if known is None:
        return best * _OF_READING if best else None
    moved = known * (
        _COPY_TRAFFIC.get(family.name if family else "", 2.0) if device.bandwidth_method == "memcpy" else 1
    )
    return min(moved, sheet or moved) * _OF_READING


def _bytes_per_weight(kind: str) -> float | None:
    """Of a tensor type or an ONNX format; None for what an earlier version's probe timed and nothing makes now."""
    if kind in BLOCKS:
        return BLOCKS[kind][1] / BLOCKS[kind][0]
    return onnx_footprint.bytes_per_weight(kind) if kind in FORMATS else None


def _layer_seconds(device: Device, probed: Iterable[tuple[KernelSpeed, KernelSpeed]]) -> float:
    measured = [rows[0].layer_seconds for rows in probed if rows[0].layer_seconds]
    if measured:
        return median(measured)
    more = 1 + _LAYER_MORE_THREADS * max(0, device.decode_threads - 2)
    return _LAYER_CYCLES * more / clock(device)


def _token_seconds(device: Device, probed: Iterable[tuple[KernelSpeed, KernelSpeed]]) -> float:
    measured = [rows[0].token_seconds for rows in probed if rows[0].token_seconds]
    return median(measured) if measured else _TOKEN_CYCLES / clock(device)


def clock(device: Device) -> float:
    """Hertz of the fastest kind of core, as the profile states it; else a usual one."""
    return (device.cores[0].clock_hz if device.cores else None) or _USUAL_CLOCK_HZ


def decode_seconds(work: Work, machine: Machine, *, depth: int) -> float | None:
    """Seconds for one token behind `depth` others; None where a type's speed is not known."""
    if machine.bandwidth is None:
        return None
    parts = [_vector_seconds(kind, part, machine) for kind, part in _all(work)]
    known = [seconds for seconds in parts if seconds is not None]
    if len(known) < len(parts):
        return None
    attention = max(work.kv_bytes(depth) / machine.bandwidth, work.scored(depth) / machine.attention_rate)
    small = work.n_products * machine.product_seconds + work.n_attending * machine.attention_seconds
    return _fixed(work, machine) + small + sum(known) + attention


def _all(work: Work) -> list[tuple[str, Products]]:
    return [*work.layers.items(), *work.head.items()]


def _fixed(work: Work, machine: Machine) -> float:
    return machine.token_seconds + work.sizes.n_layers * machine.layer_seconds


def _vector_seconds(kind: str, part: Products, machine: Machine) -> float | None:
    rate = machine.decode.get(kind)
    if kind in machine.holds_memory and rate:
        return part.weights / rate
    if rate is None or machine.bandwidth is None:
        return None
    return max(part.n_bytes / machine.bandwidth, part.weights / rate)


def prefill_seconds(work: Work, machine: Machine, *, tokens: int) -> float | None:
    """Seconds for a prompt of so many tokens, from an empty cache; None where a type's speed is not known."""
    rates = machine.prefill
    plain = rates.get("F16" if work.container == "gguf" else "onnx-fp32")
    if any(kind not in rates or kind not in machine.decode for kind, _ in _all(work)) or not plain:
        return None
    heads = tokens if work.head_for_all else 1
    products = sum(tokens * part.weights / rates[kind] for kind, part in work.layers.items())
    head = sum(
        heads * part.weights / (rates[kind] if work.head_for_all else machine.decode[kind])
        for kind, part in work.head.items()
    )
    attention = tokens * work.scored(tokens // 2) / (_ATTENTION_RATE * plain)
    batches = -(-tokens // _BATCHES[work.container])
    return batches * _fixed(work, machine) + products + head + attention


def speeds(work: Work, device: Device, *, context: int) -> tuple[Speed | None, Speed | None]:
    """Decode and prefill as `edgequant profile` measures them at this context; None for what is not known."""
    found = machine(device, work.container, [kind for kind, _ in _all(work)])
    prompt, answer = lengths(context)
    token = decode_seconds(work, found, depth=prompt + answer // 2)
    whole = prefill_seconds(work, found, tokens=prompt)
    return (
        _speed(1 / token, found.basis, "decode") if token else None,
        _speed(prompt / whole, found.basis, "prefill") if whole else None,
    )


def _speed(tokens_per_second: float, basis: str, metric: str) -> Speed:
    down, up = SPREADS[basis][metric]
    return Speed(
        tokens_per_second=tokens_per_second, low=down * tokens_per_second, high=up * tokens_per_second, basis=basis
    )
