"""A plan: what each format will weigh on disk and in memory, and whether the device holds it; all of it predicted."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from .. import Error
from ..convert import conversion, ladder, makers
from ..convert.architectures.geometry import geometry
from ..convert.architectures.keys import check_config
from ..convert.checkpoint import Checkpoint
from ..convert.formats import FORMATS, Format
from ..convert.fused.expressible import obstacle
from ..convert.vocabulary.from_checkpoint import read_vocabulary
from ..convert.vocabulary.from_gguf import Vocabulary
from . import footprint, kernels, onnx_footprint
from .device import Device
from .model import Model

_COMPANIONS = ("tokenizer*", "*config.json", "chat_template.jinja", "special_tokens_map.json")
_RESULTS_BYTES = 64 << 20  # reports and stored rows of a run
_REFERENCE_POSITIONS = 10_000  # of the built-in text, where the reference's log-probabilities are kept in float16
_METADATA_BYTES = 2048  # keys of a GGUF besides the vocabulary
_ONE_PROTOBUF_BYTES = 2**31  # above it, weights go to a file of their own (protobuf's limit on a message)
_CONVERTER_BYTES = 200 << 20  # Python with numpy and gguf, and blocks of rows
_EXPORTER_BYTES = 480 << 20  # torch, transformers and optimum, imported (seen)
_EXPORT_COPIES = 3.8  # peak against the graph: SmolLM2 2.9 GB (seen)
_EXPORT_COPIES_EXTERNAL = 2.1  # the same for weights in a file of their own: a 1.5B model 15.4 GB (seen)
_SMOOTHING_COPIES = 3  # in float32, side by side: the rescaled checkpoint, the reference, and room for a trial
_ONNX_QUANTISE_COPIES = 3.3  # peak against the float32 graph: SmolLM2 2.1 GB (seen)


@dataclass(frozen=True, kw_only=True)
class PlannedFormat:
    """Predictions for one format on one device; none of it is a measurement.

    `decode_tokens_per_second` is the ceiling that reading the weights sets: bandwidth / bytes a token. `memory` names
    the parts of `peak_memory_bytes`. `mark` and `mark_reason` are what `kernels` says of the format there, "" for fine.
    """

    format: str
    container: str
    size_bytes: int
    bits_per_weight: float
    n_fallbacks: int  # tensors whose rows do not fit the format's blocks
    peak_memory_bytes: int | None  # None where it is not known
    memory: Mapping[str, int]
    fits: bool | None
    why: str
    decode_tokens_per_second: float | None
    mark: str = ""
    mark_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predictions for all formats, and what converting needs: disk at the same time, memory at its peak, in bytes."""

    checkpoint: str
    device: str
    context: int
    formats: tuple[PlannedFormat, ...]
    disk_bytes: int
    conversion_memory_bytes: int | None
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
    checkpoint: Checkpoint, formats: Sequence[Format], device: Device, *, context: int, block_size: int = 32
) -> Plan:
    """Predict every format on the device at a context of so many tokens; reads headers and the tokenizer only.

    Raises `Error` for a checkpoint that cannot be converted: its architecture, its tensors or its tokenizer.
    """
    if checkpoint.converter:
        return _estimate(checkpoint, formats, device, context=context)
    described = describe(checkpoint, with_vocabulary=any(fmt.container == "gguf" for fmt in formats))
    model = replace(described, block_size=block_size)
    made = makers.with_sources(checkpoint, formats)
    return Plan(
        checkpoint=checkpoint.name,
        device=device.name,
        context=context,
        formats=tuple(_marked(predict(model, fmt, device, context=context), device) for fmt in formats),
        disk_bytes=_disk_bytes(model, made),
        conversion_memory_bytes=max((_conversion_bytes(model, fmt) for fmt in made), default=0),
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
        disk_bytes=sum(sizes.values()) + _RESULTS_BYTES if sizes else 0,
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
        bits_per_weight=fmt.nominal_bits,
        n_fallbacks=0,
        peak_memory_bytes=None,
        memory={},
        fits=None,
        why="",
        decode_tokens_per_second=None,
    )


def describe(checkpoint: Checkpoint, *, with_vocabulary: bool = True) -> Model:
    """The model as the formulas see it; without the vocabulary the sizes of GGUF files lack its bytes."""
    check_config(checkpoint)
    sizes = geometry(checkpoint)
    described = vocabulary_bytes(read_vocabulary(checkpoint), n_tokens=sizes.vocabulary) if with_vocabulary else 0
    companions = {file for pattern in _COMPANIONS for file in checkpoint.path.glob(pattern)}
    return Model(
        sizes=sizes,
        decoder=conversion.decoder(checkpoint),
        tensors=conversion.gguf_shapes(checkpoint),
        vocabulary_bytes=described,
        companion_bytes=sum(file.stat().st_size for file in companions),
        fused=not obstacle(checkpoint),
    )


def vocabulary_bytes(vocabulary: Vocabulary, *, n_tokens: int) -> int:
    """Bytes of a GGUF's keys: strings with 8 bytes of length, 4 bytes a type and a score (ggml/docs/gguf.md)."""
    unused = n_tokens - len(vocabulary.tokens)
    strings = [*vocabulary.tokens, *vocabulary.merges, vocabulary.chat_template or ""]
    numbers = 4 * n_tokens * (2 if vocabulary.scores else 1)
    texts = sum(8 + len(text.encode()) for text in strings) + unused * (8 + len(f"[PAD{n_tokens}]"))
    return texts + numbers + _METADATA_BYTES


def predict(model: Model, fmt: Format, device: Device, *, context: int) -> PlannedFormat:
    """Predict one format."""
    memory = footprint.memory_parts(model, fmt, context=context, isa=device.isa)
    peak = sum(memory.values())
    fallen = ladder.fell_back(fmt, model.tensors, decoder=model.decoder) if fmt.container == "gguf" else []
    return PlannedFormat(
        format=fmt.name,
        container=fmt.container,
        size_bytes=footprint.file_bytes(model, fmt),
        bits_per_weight=8 * footprint.tensor_bytes(model, fmt) / model.n_weights,
        n_fallbacks=len(fallen),
        peak_memory_bytes=peak,
        memory=memory,
        fits=peak <= device.usable_ram_bytes,
        why=_why(peak, memory.get("repacked copy", 0), device),
        decode_tokens_per_second=_decode(model, fmt, device),
    )


def _marked(planned: PlannedFormat, device: Device) -> PlannedFormat:
    found = kernels.fact(planned.format, device.isa)
    return replace(planned, mark=found.word, mark_reason=found.reason) if found else planned


def _why(peak: int, repacked: int, device: Device) -> str:
    needs = f"needs about {_size(peak)} of the {_size(device.usable_ram_bytes)} that {device.name} has for programs"
    if peak > device.usable_ram_bytes >= peak - repacked:
        return f"{needs}; it would fit without llama.cpp's repacked copy of {_size(repacked)} (no repacking: slower)"
    return needs


def _decode(model: Model, fmt: Format, device: Device) -> float | None:
    if device.bandwidth_bytes_per_second is None:
        return None
    return device.bandwidth_bytes_per_second / footprint.decode_bytes(model, fmt)


def _disk_bytes(model: Model, made: Sequence[Format]) -> int:
    """All artifacts side by side, then the reference's log-probabilities beside them.

    Before those are there, Optimum needs a large export twice for a moment, to gather its weights in one file.
    """
    if not made:
        return 0
    sizes = {fmt.name: footprint.file_bytes(model, fmt) for fmt in made}
    exported = 0 if model.fused else sizes.get("onnx-fp32", 0)
    gathering = exported if exported > _ONE_PROTOBUF_BYTES else 0
    smoothing = _SMOOTHING_COPIES * 4 * model.n_weights if any(fmt.smoothed for fmt in made) else 0
    reference = 2 * _REFERENCE_POSITIONS * model.sizes.vocabulary
    return sum(sizes.values()) + max(gathering, reference, smoothing) + _RESULTS_BYTES


def _conversion_bytes(model: Model, fmt: Format) -> int:
    """Peak memory of making one format from what it is made from."""
    if fmt.smoothed and model.fused:
        return _CONVERTER_BYTES + onnx_footprint.resident_bytes(model, FORMATS["onnx-fp32"])
    if fmt.container == "onnx" and model.fused:
        return _CONVERTER_BYTES + _whole_matrices(model, fmt)
    if fmt.container == "onnx":
        graph = 4 * model.n_weights + (4 * prod(dict(model.tensors)["token_embd.weight"]) if model.tied else 0)
        if fmt.made_from != "checkpoint":
            return _CONVERTER_BYTES + int(_ONNX_QUANTISE_COPIES * graph)
        copies = _EXPORT_COPIES if graph < _ONE_PROTOBUF_BYTES else _EXPORT_COPIES_EXTERNAL
        return _EXPORTER_BYTES + int(copies * graph)
    if fmt.made_from == "checkpoint":
        return _CONVERTER_BYTES
    # llama.cpp holds one tensor at a time: as it is in float16, in float32 and quantised (src/llama-quant.cpp)
    types = ladder.tensor_types(fmt, model.tensors, decoder=model.decoder)
    return _CONVERTER_BYTES + max(6 * prod(s) + ladder.size_bytes(types[name], s) for name, s in model.tensors)


def _whole_matrices(model: Model, fmt: Format) -> int:
    """Formats with a scale a channel hold one product's weights as a whole, to turn rows into columns."""
    if not fmt.rounds_activations:
        return 0
    return max(4 * prod(shape) for name, shape in model.tensors if name.startswith("blk.") and len(shape) > 1)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
