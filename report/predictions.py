"""What was predicted for the formats of a run, to stand beside what was measured: memory over context, and speeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import Error
from ..accuracy.paired import Interval
from ..convert.checkpoint import Checkpoint, open_folder
from ..profiles.device import Device
from ..profiles.planning.footprint import Line
from ..profiles.records.run_folder import RunFolder

METRICS = ("prefill_tokens_per_second", "decode_tokens_per_second")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predictions for one format on the report's device, from the checkpoint and the device's profile alone.

    `memory` is the peak over a context that is full, `peak_memory_bytes` that at `context` tokens; `speeds` in
    tokens/s by metric, with the ends that they are expected between.
    """

    context: int
    trained_context: int
    peak_memory_bytes: int
    memory: Line
    largest_context: int  # the most tokens that the device's memory holds
    speeds: Mapping[str, Interval] = field(default_factory=dict)


def predictions(folder: RunFolder, device: Device) -> dict[str, Prediction]:
    """Format -> what a plan predicts for it; nothing where the run's checkpoint is no longer on this disk.

    Rows that were measured correct nothing here, so that both can be compared.
    """
    from ..profiles.planning.plan import plan

    described = folder.open()
    try:
        checkpoint = _checkpoint(folder, described)
        if checkpoint is None or checkpoint.converter:
            return {}
        planned = plan(checkpoint, _formats(described), device, context=described["context"], onnx=_onnx(described))
        trained = _trained_context(checkpoint)
    except (Error, OSError):  # what cannot be planned today was measured all the same
        return {}
    return {
        each.format: Prediction(
            context=planned.context,
            trained_context=trained,
            peak_memory_bytes=each.peak_memory_bytes,
            memory=each.memory_line,
            largest_context=each.largest_context or 0,
            speeds=dict(_speeds(each)),
        )
        for each in planned.formats
        if each.peak_memory_bytes is not None and each.memory_line is not None
    }


def _checkpoint(folder: RunFolder, described: Mapping[str, Any]) -> Checkpoint | None:
    """The run's checkpoint from where it lies: in the run's folder, where the user named it, or in the Hub's cache."""
    known = described["checkpoint"]
    own = sorted(folder.source.iterdir()) if folder.source.is_dir() else []
    source = described.get("source", "")  # a bundle on a device does not name it
    places = [*own, *([Path(source), *_in_cache(source, known["revision"])] if source else [])]
    there = next((place for place in places if (place / "config.json").is_file()), None)
    if there is None:
        return None
    return open_folder(there, name=known["name"], revision=known["revision"])


def _in_cache(hub_id: str, revision: str) -> list[Path]:
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return []
    try:
        found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    except HFValidationError:
        return []
    return [Path(found).parent] if isinstance(found, str) else []


def _formats(described: Mapping[str, Any]) -> list[Any]:
    from ..convert.formats import FORMATS

    return [FORMATS[name] for name in described["formats"] if name in FORMATS]


def _onnx(described: Mapping[str, Any]) -> Any:
    from ..convert.onnx_options import OnnxOptions

    given = described.get("onnx", {})
    chosen = {name: given[name] for name in ("block_size", "per_channel", "plain_head") if name in given}
    return OnnxOptions(**chosen)


def _trained_context(checkpoint: Checkpoint) -> int:
    from ..convert.conversion import context_and_vocabulary

    return int(context_and_vocabulary(checkpoint)[0])


def _speeds(planned: Any) -> Iterator[tuple[str, Interval]]:
    for metric in METRICS:
        low, estimate, high = (getattr(planned, f"{metric}{end}") for end in ("_low", "", "_high"))
        if estimate is not None:
            yield metric, Interval(low=low, high=high, estimate=estimate)
