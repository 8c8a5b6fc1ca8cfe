"""A plan: what each format will weigh on disk and in memory, whether the device holds it, and how fast it will be."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ... import Error
from ...convert import ladder, makers
from ...convert.checkpoint import Checkpoint
from ...convert.formats import Format
from ...convert.onnx_options import OnnxOptions
from .. import kernels
from ..device import Device
from ..machine import host
from . import conversion_cost, footprint, loading, prediction
from .describing import describe
from .footprint import Line
from .model import Model
from .work import work

_OPTIMUM = "the size of the graph that Optimum exports is an estimate"
_NO_TOKENIZER = "files are within 2 %: the tokenizer has not been downloaded; tensor data is exact"


@dataclass(frozen=True, kw_only=True)
class PlannedFormat:
    """Predictions for one format on one device; none of it is a measurement.

    `size_bytes` is exact, or `size_note` says why not; `tensor_bytes` always is. `memory` names the parts of
    `peak_memory_bytes`, at the plan's context; `memory_line` is the peak over the context, `largest_context` the most
    tokens that fit. Speeds are those that `edgequant profile` measures, in tokens/s, with the ends of the interval
    that they are expected in; `speed_basis` says what they rest on. `mark` and `mark_reason` are what `kernels` says
    of the format there, "" for fine. What is not known is None.
    """

    format: str
    container: str
    size_bytes: int
    tensor_bytes: int
    bits_per_weight: float
    n_fallbacks: int  # tensors whose rows do not fit the format's blocks
    peak_memory_bytes: int | None
    memory: Mapping[str, int]
    fits: bool | None
    why: str
    size_note: str = ""
    memory_line: Line | None = None
    largest_context: int | None = None
    decode_tokens_per_second: float | None = None
    decode_tokens_per_second_low: float | None = None
    decode_tokens_per_second_high: float | None = None
    prefill_tokens_per_second: float | None = None
    prefill_tokens_per_second_low: float | None = None
    prefill_tokens_per_second_high: float | None = None
    speed_basis: str = ""
    load_seconds: float | None = None  # from storage, where its speed is known; else from the page cache
    conversion_seconds: float | None = None  # on this machine, without what it is made from
    mark: str = ""
    mark_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predictions for all formats, and what converting needs: disk at the same time, memory at its peak, in bytes.

    `conversion_seconds` is the time for all formats and what they are made from, on this machine.
    """

    checkpoint: str
    device: str
    context: int
    formats: tuple[PlannedFormat, ...]
    disk_bytes: int
    conversion_memory_bytes: int | None
    conversion_seconds: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values, marked as predicted."""
        return {"predicted": True, **asdict(self)}

    def check_disk(self, folder: Path) -> None:
        """Raise `Error` where the disk of `folder` (which need not exist) has less room than the plan needs."""
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < self.disk_bytes:
            raise Error(
                f"the disk of {folder} has {_size(free)} free, but the run needs about {_size(self.disk_bytes)}",
                hint="free some space, choose fewer formats (--formats) or another folder (--out)",
            )


def plan(
    checkpoint: Checkpoint, formats: Sequence[Format], device: Device, *, context: int, onnx: OnnxOptions | None = None
) -> Plan:
    """Predict every format on the device at a context of so many tokens; reads headers and the tokenizer only.

    Raises `Error` for a checkpoint that cannot be converted: its architecture, its tensors or its tokenizer.
    """
    if checkpoint.converter:
        return _estimate(checkpoint, formats, device, context=context)
    made = makers.with_sources(checkpoint, formats)
    model = describe(checkpoint, made, onnx or OnnxOptions())
    times = {fmt: conversion_cost.seconds(model, fmt, threads=host.machine().threads) for fmt in made}
    planned = (predict(model, fmt, device, context=context) for fmt in formats)
    return Plan(
        checkpoint=checkpoint.name,
        device=device.name,
        context=context,
        formats=tuple(
            _marked(replace(each, conversion_seconds=times[fmt]), device)
            for each, fmt in zip(planned, formats, strict=True)
        ),
        disk_bytes=conversion_cost.disk_bytes(model, made),
        conversion_memory_bytes=max((conversion_cost.memory_bytes(model, fmt) for fmt in made), default=0),
        conversion_seconds=sum(times.values()),
        notes=_notes(model, device, context=context),
    )


def _notes(model: Model, device: Device, *, context: int) -> tuple[str, ...]:
    whole = model.attention.cache_bytes(context, whole=True) - model.attention.cache_bytes(context)
    windows = (
        f"Layers with a sliding window keep {model.sizes.window} tokens and a batch in llama.cpp's own programs; what "
        f"measures here, and ONNX, keeps every token: {_size(whole)} more."
    )
    slower = f"{device.name} slows down {device.throttling}; speeds are those before it does."
    return tuple(
        note
        for note, holds in (
            (f"{_NO_TOKENIZER[0].upper()}{_NO_TOKENIZER[1:]}.", not model.has_tokenizer),
            (windows, bool(model.sizes.window) and whole > 0),
            (slower, bool(device.throttling)),
        )
        if holds
    )


def _estimate(checkpoint: Checkpoint, formats: Sequence[Format], device: Device, *, context: int) -> Plan:
    """What the number of weights alone says: sizes if every weight took the format's bits, and nothing of memory."""
    assert checkpoint.converter
    made = makers.with_sources(checkpoint, formats)
    sizes = {fmt: int(checkpoint.n_parameters * fmt.nominal_bits / 8) for fmt in made}
    return Plan(
        checkpoint=checkpoint.name,
        device=device.name,
        context=context,
        formats=tuple(_marked(_estimated(fmt, sizes[fmt]), device) for fmt in formats),
        disk_bytes=conversion_cost.disk_bytes_of(list(sizes.values())),
        conversion_memory_bytes=None,
        notes=(
            f"Sizes are estimates from {checkpoint.n_parameters / 1e6:,.1f} M weights; memory and speed are not known: "
            f"{checkpoint.converter.why}.",
        ),
    )


def _estimated(fmt: Format, size_bytes: int) -> PlannedFormat:
    return PlannedFormat(
        format=fmt.name,
        container=fmt.container,
        size_bytes=size_bytes,
        tensor_bytes=size_bytes,
        bits_per_weight=fmt.nominal_bits,
        n_fallbacks=0,
        peak_memory_bytes=None,
        memory={},
        fits=None,
        why="",
        size_note="an estimate from the number of weights",
    )


def predict(model: Model, fmt: Format, device: Device, *, context: int) -> PlannedFormat:
    """Predict one format."""
    memory = footprint.memory_parts(model, fmt, context=context, isa=device.isa)
    peak, exact = sum(memory.values()), footprint.tensor_bytes(model, fmt)
    fallen = ladder.fell_back(fmt, model.tensors, decoder=model.decoder) if fmt.container == "gguf" else []
    planned = PlannedFormat(
        format=fmt.name,
        container=fmt.container,
        size_bytes=footprint.file_bytes(model, fmt),
        tensor_bytes=exact,
        bits_per_weight=8 * exact / model.n_weights,
        n_fallbacks=len(fallen),
        peak_memory_bytes=peak,
        memory=memory,
        fits=peak <= device.usable_ram_bytes,
        why=_why(peak, memory.get("repacked copy", 0), device),
        size_note=_size_note(model, fmt),
        memory_line=footprint.line(model, fmt, isa=device.isa),
        largest_context=footprint.largest_context(model, fmt, isa=device.isa, memory_bytes=device.usable_ram_bytes),
        load_seconds=loading.seconds(model, fmt, device),
    )
    return _with_speeds(planned, model, fmt, device, context=context)


def _size_note(model: Model, fmt: Format) -> str:
    if fmt.container == "onnx" and not model.fused:
        return _OPTIMUM
    return "" if model.has_tokenizer else _NO_TOKENIZER


def _with_speeds(planned: PlannedFormat, model: Model, fmt: Format, device: Device, *, context: int) -> PlannedFormat:
    decode, prefill = prediction.speeds(work(model, fmt), device, context=context)
    basis = next((speed.basis for speed in (decode, prefill) if speed), "")
    return replace(planned, **_fields("decode", decode), **_fields("prefill", prefill), speed_basis=basis)


def _fields(metric: str, speed: prediction.Speed | None) -> dict[str, Any]:
    name = f"{metric}_tokens_per_second"
    low, estimate, high = (speed.low, speed.tokens_per_second, speed.high) if speed else (None, None, None)
    return {f"{name}_low": low, name: estimate, f"{name}_high": high}


def _marked(planned: PlannedFormat, device: Device) -> PlannedFormat:
    found = kernels.fact(planned.format, device.isa)
    return replace(planned, mark=found.word, mark_reason=found.reason) if found else planned


def _why(peak: int, repacked: int, device: Device) -> str:
    needs = f"needs about {_size(peak)} of the {_size(device.usable_ram_bytes)} that {device.name} has for programs"
    if peak > device.usable_ram_bytes >= peak - repacked:
        return f"{needs}; it would fit without llama.cpp's repacked copy of {_size(repacked)} (no repacking: slower)"
    return needs


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
