"""The table of formats: one row a format, spelled as llama.cpp and ONNX Runtime users spell it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import Error


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of storing the weights; `nominal_bits` is the label's bits per weight, never a measurement."""

    name: str
    container: str  # "gguf" | "onnx"
    nominal_bits: float
    made_from: str  # the format that it is quantised from, or "checkpoint"
    summary: str
    llama_ftype: int | None = None  # the id in llama.cpp's enum llama_ftype (include/llama.h); None for ONNX
    rounds_activations: bool = (
        False  # whether products take activations that were rounded with one scale or one a token
    )
    options: tuple[str, ...] = ()  # fields of `OnnxOptions` that it heeds
    needs_fused: bool = False  # whether only our own ONNX graph can have it
    smoothed: str = ""  # the format that it is, of a checkpoint that was smoothed beforehand


def _gguf(name: str, llama_ftype: int, nominal_bits: float, summary: str, made_from: str = "F16") -> Format:
    return Format(
        name=name,
        container="gguf",
        nominal_bits=nominal_bits,
        made_from=made_from,
        summary=summary,
        llama_ftype=llama_ftype,
    )


def _onnx(
    name: str,
    nominal_bits: float,
    summary: str,
    *,
    made_from: str = "onnx-fp32",
    rounds_activations: bool = False,
    options: tuple[str, ...] = (),
    needs_fused: bool = False,
    smoothed: str = "",
) -> Format:
    """`made_from` is said of Optimum's graphs; our own are all written from the checkpoint."""
    return Format(
        name=name,
        container="onnx",
        nominal_bits=nominal_bits,
        made_from=made_from,
        summary=summary,
        rounds_activations=rounds_activations,
        options=options,
        needs_fused=needs_fused,
        smoothed=smoothed,
    )


_ROWS = (
    _gguf("F32", 0, 32.0, "every weight as it is computed with; only for reference", "checkpoint"),
    _gguf("F16", 1, 16.0, "half precision; what the quantised files are made from", "checkpoint"),
    _gguf("BF16", 32, 16.0, "half precision with float32's range; exact for checkpoints in bfloat16", "checkpoint"),
    _gguf("Q8_0", 7, 8.5, "8 bits and a scale for 32 weights; next to no loss"),
    _gguf("Q6_K", 18, 6.5625, "6 bits with nested scales; little loss"),
    _gguf("Q5_K_M", 17, 5.5, "5 bits with nested scales, 6 where it matters most"),
    _gguf("Q5_K_S", 16, 5.5, "5 bits with nested scales, nearly everywhere"),
    _gguf("Q5_1", 9, 6.0, "5 bits, a scale and an offset for 32 weights; older than Q5_K"),
    _gguf("Q5_0", 8, 5.5, "5 bits and a scale for 32 weights; older than Q5_K"),
    _gguf("Q4_K_M", 15, 4.5, "4 bits with nested scales, 6 where it matters most; the usual choice"),
    _gguf("Q4_K_S", 14, 4.5, "4 bits with nested scales, nearly everywhere"),
    _gguf("Q4_1", 3, 5.0, "4 bits, a scale and an offset for 32 weights; older than Q4_K"),
    _gguf("Q4_0", 2, 4.5, "4 bits and a scale for 32 weights; coarse, but the fastest on many small processors"),
    _gguf("Q3_K_L", 13, 3.4375, "3 bits with nested scales, 5 where it matters most"),
    _gguf("Q3_K_M", 12, 3.4375, "3 bits with nested scales, 4 and 5 where it matters most"),
    _gguf("Q3_K_S", 11, 3.4375, "3 bits with nested scales, nearly everywhere; visible loss"),
    _gguf("Q2_K", 10, 2.625, "2 bits with nested scales, 3 and 4 where it matters most; much loss"),
    _onnx("onnx-fp32", 32.0, "every weight in float32; the reference of the ONNX formats", made_from="checkpoint"),
    _onnx(
        "onnx-int8",
        9.0,
        "8-bit weights, a scale for 32 of them; next to no loss, the ONNX counterpart of Q8_0",
        options=("block_size",),
    ),
    _onnx(
        "onnx-int4",
        5.125,
        "4-bit weights, a searched scale and zero point for 32 of them; the ONNX counterpart of Q4_K",
        options=("block_size",),
        needs_fused=True,
    ),
    _onnx(
        "onnx-int4-gptq",
        5.125,
        "4-bit weights that make up for each other's rounding, by what a text shows of their inputs (GPTQ)",
        options=("block_size", "calibration"),
        needs_fused=True,
    ),
    _onnx(
        "onnx-int4-rtn",
        5.125,
        "4-bit weights, each rounded to the nearest value; coarse",
        options=("block_size",),
        needs_fused=True,
    ),
    _onnx(
        "onnx-w8a8",
        8.0,
        "8-bit weights, and activations rounded to 8 bits with a scale a token; the fastest prefill, some loss",
        rounds_activations=True,
        options=("block_size", "per_channel", "reduce_range", "plain_head"),
        needs_fused=True,
    ),
    _onnx(
        "onnx-int8-dynamic",
        8.0,
        "8-bit weights, and activations rounded to 8 bits with one scale a tensor; fast, often much loss",
        rounds_activations=True,
        options=("block_size", "per_channel", "reduce_range", "plain_head"),
    ),
    _onnx(
        "onnx-int8-static",
        8.0,
        "8-bit weights, and activations rounded to 8 bits with a scale known beforehand from a text; often much loss",
        rounds_activations=True,
        options=("block_size", "per_channel", "reduce_range", "plain_head", "calibration"),
        needs_fused=True,
    ),
)


def _with_smoothed(rows: Iterable[Format]) -> Iterator[Format]:
    """The rows, each that rounds activations followed by what smoothing makes of it."""
    for row in rows:
        yield row
        if row.rounds_activations:
            yield replace(
                row,
                name=f"{row.name}-smooth",
                summary=f"{row.name} of a checkpoint whose activations were evened out beforehand; less loss",
                options=tuple(dict.fromkeys([*row.options, "calibration"])),
                needs_fused=True,
                smoothed=row.name,
            )


#: name -> format, best quality first within each container; the place to add a format
FORMATS: Mapping[str, Format] = {row.name: row for row in _with_smoothed(_ROWS)}

#: what a run makes when nothing else is asked for
DEFAULT_FORMATS = (
    "F16",
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q4_K_M",
    "Q4_0",
    "Q3_K_M",
    "Q2_K",
    "onnx-fp32",
    "onnx-int8",
    "onnx-w8a8",
)

#: short spellings that llama-quantize understands (tools/quantize/quantize.cpp)
ALIASES: Mapping[str, str] = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

#: floats of 8 bits: ggml.h has no type of them, and onnxruntime's CPU provider only casts them to float32 (tried)
_FLOAT8 = re.compile(r"fp8|float8|e4m3|e5m2|\bf8")
_BY_LOWER_NAME = {name.lower(): row for name, row in FORMATS.items()} | {
    alias.lower(): FORMATS[name] for alias, name in ALIASES.items()
}


def with_smoothed(names: Sequence[str]) -> tuple[str, ...]:
    """The formats of these names, each that rounds activations followed by itself of a smoothed checkpoint."""
    smoothed = {row.smoothed: row.name for row in FORMATS.values() if row.smoothed}
    found = [each for name in names for each in (name, smoothed.get(find(name).name, ""))]
    return tuple(dict.fromkeys(name for name in found if name))


def find(name: str) -> Format:
    """The format of that name or alias, whatever its case; `Error` lists those that are known."""
    wanted = name.strip().lower()
    if wanted in _BY_LOWER_NAME:
        return _BY_LOWER_NAME[wanted]
    if _FLOAT8.search(wanted):
        raise Error(
            f"{name.strip()}: FP8 has no CPU kernel, neither in llama.cpp nor in onnxruntime",
            hint="take Q8_0 or onnx-int8, which are as small, or onnx-w8a8",
        )
    raise Error(f"unknown format {name!r}", hint=f"known formats: {', '.join(FORMATS)}")
