"""How llama.cpp's own programs are to run a file on a device: each setting with the reason for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ... import Error
from ...convert import conversion
from ...convert.formats import FORMATS
from ...profiles.device import THIS_MACHINE, Device
from ...profiles.planning import plan as planning
from ...profiles.planning.footprint import BATCH_TOKENS
from ...profiles.planning.plan import PlannedFormat
from ...report.numbers import size
from .generation import PENALISED, PENALTY, generation_config, stated
from .shipment import Shipment

_LEAST_CONTEXT = 256  # tokens; llama.cpp allots its cache in steps of so many
#: a block of 32 values takes 34 bytes in q8_0 and 64 in float16 (ggml-common.h, block_q8_0)
_Q8_SHARE = 34 / 64
_SAMPLING = {
    "temperature": "--temp",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    PENALTY: "--repeat-penalty",
    PENALISED: "--repeat-last-n",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Words of a command line, and why they are there."""

    words: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What makes the model fit the device's memory; `peak_bytes` is predicted, None where nothing predicts it."""

    context: int
    repack: bool = True
    cache_type: str = "f16"
    peak_bytes: int | None = None
    why: str = ""
    fits: bool = True


def settings(shipment: Shipment, device: Device) -> tuple[list[Setting], Fit]:
    """What the file is to be run with on the device, in the order of a command line."""
    fit = fitted(shipment, device)
    chosen = [*_threads(device), _context(shipment, device, fit), *_batch(fit), _cache(fit), _flash(fit)]
    return [*chosen, _loading(shipment), _repacking(shipment, fit), *_sampling(shipment)], fit


def _threads(device: Device) -> Iterator[Setting]:
    said = device.title.removeprefix(THIS_MACHINE)
    yield Setting(
        words=("--threads", str(device.decode_threads), "--threads-batch", str(device.prefill_threads)),
        why=f"{said}: {device.decode_threads} threads for writing tokens, {device.prefill_threads} for reading prompts",
    )


def _context(shipment: Shipment, device: Device, fit: Fit) -> Setting:
    words = ("--ctx-size", str(fit.context))
    if fit.context < _wanted(shipment, device):
        return Setting(words=words, why=f"the most tokens of context that fit: {fit.why}")
    return Setting(words=words, why=f"tokens of context{_memory(fit, device)}; more takes more memory")


def _memory(fit: Fit, device: Device) -> str:
    if fit.peak_bytes is None:
        return ""
    return f", with which it is predicted to take {size(fit.peak_bytes)} of {size(device.usable_ram_bytes)}"


def _batch(fit: Fit) -> Iterator[Setting]:
    batch = str(min(BATCH_TOKENS, fit.context))
    yield Setting(
        words=("--batch-size", batch, "--ubatch-size", batch),
        why="tokens of a prompt that are computed at once, as when it was measured",
    )


def _cache(fit: Fit) -> Setting:
    words = ("--cache-type-k", fit.cache_type, "--cache-type-v", fit.cache_type)
    if fit.cache_type == "f16":
        return Setting(words=words, why="keys and values in 16 bits, as when it was measured")
    return Setting(words=words, why=f"keys and values in 8 bits, which was not measured: {fit.why}")


def _flash(fit: Fit) -> Setting:
    if fit.cache_type == "f16":
        return Setting(words=("--flash-attn", "auto"), why="llama.cpp's own choice, as when it was measured")
    return Setting(words=("--flash-attn", "on"), why="llama.cpp quantises values with flash attention alone")


def _loading(shipment: Shipment) -> Setting:
    said = _advice(shipment, "mapping the file")
    if said:
        return Setting(words=("--load-mode", "none"), why=f"not mapped, for so it was measured: {said}")
    why = "the file is mapped, so that the system can take its pages back and a second start is quick"
    return Setting(words=("--load-mode", "mmap"), why=why)


def _repacking(shipment: Shipment, fit: Fit) -> Setting:
    died = shipment.row.mark("retried without repacked kernels")
    said = _advice(shipment, "repacking the weights")
    if died:
        return Setting(words=("--no-repack",), why="llama.cpp died in its repacked kernels when it was measured")
    if not fit.repack:
        return Setting(words=("--no-repack",), why=f"without a second, repacked copy of the weights: {fit.why}")
    if said:
        return Setting(words=("--no-repack",), why=f"for so it was measured: {said}")
    return Setting(words=("--repack",), why="weights in the layout that this processor's kernels read fastest")


def _advice(shipment: Shipment, what: str) -> str:
    """The report's sentence that speaks for leaving something out, "" for none."""
    start = f"{shipment.artifact.format}: {what}: leave it out"
    return next((said for said in shipment.report.advice if said.startswith(start)), "")


def _sampling(shipment: Shipment) -> Iterator[Setting]:
    """What generation_config.json says, and nothing that it does not."""
    words = tuple(chain.from_iterable(stated(generation_config(shipment.origin.checkpoint.path), _SAMPLING)))
    if words:
        yield Setting(words=words, why="generation_config.json of the checkpoint says so")


def fitted(shipment: Shipment, device: Device) -> Fit:
    """What fits the device: as it was measured, else without repacking, with a smaller cache, with less context.

    What changes speed alone goes before what changes answers. All of it is predicted.
    """
    wanted = context = _wanted(shipment, device)
    first = planned = _planned(shipment, device, context)
    if first is None or planned is None or first.peak_memory_bytes is None:
        return Fit(context=context)
    why = (
        f"{size(first.peak_memory_bytes)} are predicted at {wanted:,} tokens, {size(device.usable_ram_bytes)} are there"
    )
    while True:
        ways = _ways(planned, context)
        found = next((each for each in ways if (each.peak_bytes or 0) <= device.usable_ram_bytes), None)
        if found or context <= _LEAST_CONTEXT:
            return replace(found or ways[-1], why=why, fits=found is not None)
        context = max(_LEAST_CONTEXT, context // 2 // _LEAST_CONTEXT * _LEAST_CONTEXT)
        planned = _planned(shipment, device, context) or planned


def _ways(planned: PlannedFormat, context: int) -> Sequence[Fit]:
    peak, parts = planned.peak_memory_bytes or 0, planned.memory
    repacked = parts.get("repacked copy", 0)
    saved = int((1 - _Q8_SHARE) * parts.get("key/value cache", 0))
    return (
        Fit(context=context, peak_bytes=peak),
        Fit(context=context, peak_bytes=peak - repacked, repack=not repacked),
        Fit(context=context, peak_bytes=peak - repacked - saved, repack=not repacked, cache_type="q8_0"),
    )


def _wanted(shipment: Shipment, device: Device) -> int:
    """The run's context on the run's device, another device's own elsewhere; no more than the model takes."""
    run = shipment.report.device
    wanted: int = shipment.described["context"] if device.name == run.name else device.context
    return min(wanted, conversion.context_and_vocabulary(shipment.origin.checkpoint)[0] or wanted)


def _planned(shipment: Shipment, device: Device, context: int) -> PlannedFormat | None:
    """What the plan predicts; None for what it does not know: a quantised source, another converter's file."""
    formats: Mapping[str, object] = FORMATS
    if shipment.artifact.format not in formats:
        return None
    fmt = FORMATS[shipment.artifact.format]
    try:
        made = planning.plan(shipment.origin.checkpoint, [fmt], device, context=context)
    except Error:
        return None
    return made.formats[0]
