"""Facts about which formats onnxruntime's CPU provider computes fast and right on a processor, each with its source.

Seen under emulation: onnxruntime 1.31.1 in qemu-user 7.2 (`-cpu`), a product of 576 x 1536 weights, one row (32 rows),
against numpy; the times say how kernels stand to each other there, and nothing of a real processor's speed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..convert.formats import FORMATS

SLOW, REDUCED = "slow here", "reduced range"
_VNNI = ("avx_vnni", "avx512_vnni")
_BLOCKS = ("onnx-int8", "onnx-int4*")
_ROUNDED_ACTIVATIONS = ("onnx-w8a8*", "onnx-int8-dynamic*", "onnx-int8-static*")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What holds of formats (names, or patterns of them) on a processor that has `on` and nothing of `without`."""

    formats: tuple[str, ...]
    on: str
    without: tuple[str, ...]
    word: str
    reason: str
    source: str

    def holds(self, format_name: str, isa: Collection[str]) -> bool:
        """Whether it is about this format on a processor with these instruction sets."""
        named = any(fnmatchcase(format_name, pattern) for pattern in self.formats)
        return named and self.on in isa and not set(self.without) & set(isa)


#: the first that holds is said; what none speaks of is fine
FACTS = (
    Fact(
        formats=_BLOCKS,
        on="neon",
        without=("dotprod",),
        word=SLOW,
        reason="without dot products onnxruntime unpacks all weights to float32 for each product; prefer onnx-w8a8",
        source="seen under emulation (cortex-a53, cortex-a72): 22 to 32 ms (165 to 231), onnx-w8a8 0.8 ms (50 to 77), "
        "answers as of float32; by onnxruntime pull request 25110 the kernels want dotprod or i8mm. The same unpacking "
        "on a real x86 with VNNI (accuracy level 1): 0.74 ms (1.0), with the int8 kernel 0.015 ms (0.21)",
    ),
    Fact(
        formats=_BLOCKS,
        on="sse4_2",
        without=("avx2",),
        word=SLOW,
        reason="without AVX2 onnxruntime unpacks all weights to float32 for each product; prefer onnx-w8a8",
        source="seen under emulation (SandyBridge): 10.6 ms (102), MatMulInteger 2.6 ms (38), answers as of float32",
    ),
    Fact(
        formats=_ROUNDED_ACTIVATIONS,
        on="avx2",
        without=_VNNI,
        word=REDUCED,
        reason="without VNNI, sums of two products are cut off at 16 bits, so the weights must stay within 7 bits",
        source="seen under emulation (Haswell): MatMulInteger of u8 by s8 over their full range is off by 19 %, with "
        "weights of 7 bits exact, as vpmaddubsw's saturating 16-bit sums (Intel's manual) have it",
    ),
)


def fact(format_name: str, isa: Collection[str]) -> Fact | None:
    """What is to be said of a format on a processor with these instruction sets; None where it is fine, or unknown."""
    return next((each for each in FACTS if each.holds(format_name, isa)), None)


def slow_formats(isa: Collection[str]) -> tuple[str, ...]:
    """Names of the formats that are slow on a processor with these instruction sets, smoothed ones among them."""
    said = ((name, fact(name, isa)) for name in FORMATS)
    return tuple(name for name, found in said if found and found.word == SLOW)


def reduces_range(isa: Collection[str]) -> bool:
    """Whether int8 weights that meet uint8 activations must stay within 7 bits (-64 to 63) on that processor.

    False where nothing is known of the processor. onnxruntime's option `session.x64quantprecision` avoids it at run
    time by copies of the weights (seen: a peak of 55 MB more for 28 MB of them), but whoever runs the file must set it,
    and with VNNI it halves the speed of a prefill (seen: 0.145 ms where 0.065 ms without, 32 rows).
    """
    return any(each.word == REDUCED and each.holds("onnx-w8a8", isa) for each in FACTS)


def unpacks_blocks(isa: Collection[str]) -> bool:
    """Whether a product with blocks of 8 bits is slow on that processor, so that not even the head should be one."""
    return any(each.word == SLOW and each.holds("onnx-int8", isa) for each in FACTS)


def suited(device: Collection[str], here: Collection[str]) -> dict[str, bool]:
    """The `OnnxOptions` that instruction sets decide: those of the device, and of the machine that measures for it."""
    return {
        "reduce_range": reduces_range(device) or reduces_range(here),
        "plain_head": unpacks_blocks(device),
    }
