"""Published speeds beside those predicted from a model's configuration and a device's profile alone."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import published
from published import LEFT_OUT, LLAMA_CPP, OTHER_KERNELS, ROWS, Row

from edgequant.convert import conversion
from edgequant.convert.architectures import layout
from edgequant.convert.architectures.geometry import geometry
from edgequant.convert.checkpoint import Checkpoint
from edgequant.convert.formats import FORMATS, Format
from edgequant.profiles.device import load
from edgequant.profiles.planning.model import Model
from edgequant.profiles.planning.prediction import Speed, speeds
from edgequant.profiles.planning.work import work

_CONTEXT = 2048
#: a format that we do not make -> one of the same bits and blocks
_ALIKE = {"IQ4_NL": "Q4_0"}


def table() -> str:
    """Every row, and the errors against their targets."""
    lines = [f"{'device':18}{'model':15}{'format':8}{'decode':>8}{'predicted':>24}{'prefill':>9}{'predicted':>24}"]
    errors: dict[str, list[float]] = {"decode": [], "prefill": []}
    inside = total = 0
    for row in ROWS:
        decode, prefill = predicted(row)
        errors["decode"].append(_error(decode, row.decode))
        cells = [f"{row.decode:8.2f}{_shown(decode, row.decode):>24}"]
        pairs = [(decode, row.decode)]
        if row.prefill is not None:
            counts = row.prefill_counts
            errors["prefill"] += [_error(prefill, row.prefill)] if counts else []
            cells.append(f"{row.prefill:9.2f}{_shown(prefill, row.prefill):>24}")
            pairs += [(prefill, row.prefill)] if counts else []
        inside += sum(speed is not None and speed.low <= value <= speed.high for speed, value in pairs)
        total += len(pairs)
        noted = "; ".join(word for word in (row.note, "" if row.engine == LLAMA_CPP else row.engine) if word)
        lines.append(f"{row.device:18}{row.model:15}{row.format:8}{''.join(cells)}  {noted}".rstrip())
    return "\n".join([*lines, "", *_verdicts(errors), f"inside the interval: {inside} of {total}", "", *_left_out()])


def predicted(row: Row) -> tuple[Speed | None, Speed | None]:
    """Decode and prefill."""
    fmt: Format = FORMATS[_ALIKE.get(row.format, row.format)]
    return speeds(work(model(row.model), fmt), load(row.device), context=_CONTEXT)


def model(name: str) -> Model:
    """A model from its configuration alone."""
    config = published.CONFIGS[name]
    bare = Checkpoint(
        source=name,
        name=name,
        revision="",
        path=Path(),
        architecture=config["architectures"][0],
        config=config,
        tensors={},
        dtype="BF16",
    )
    return Model(sizes=geometry(bare), decoder=conversion.decoder(bare), tensors=layout.shapes(bare))


def _shown(speed: Speed | None, real: float) -> str:
    if speed is None:
        return "not known"
    return f"{speed.tokens_per_second:.3g} ({speed.low:.3g}-{speed.high:.3g}) {100 * _signed(speed, real):+.0f}%"


def _signed(speed: Speed, real: float) -> float:
    return speed.tokens_per_second / real - 1


def _error(speed: Speed | None, real: float) -> float:
    return abs(_signed(speed, real)) if speed else float("inf")


def _verdicts(errors: dict[str, list[float]]) -> Iterator[str]:
    for metric, found in errors.items():
        middle, worst = median(found), max(found)
        reached = "reached" if middle <= 0.25 and worst <= 0.5 else "MISSED"
        yield (
            f"{metric}, {len(found)} rows: median error {100 * middle:.0f} % (at most 25), "
            f"worst {100 * worst:.0f} % (at most 50): {reached}"
        )


def _left_out() -> Iterator[str]:
    for row in ROWS:
        if row.prefill is not None and not row.prefill_counts:
            what = f"prefill of {row.model} {row.format} on {row.device}, {row.engine}"
            yield f"left out: {what}: {OTHER_KERNELS}"
    yield from (f"left out: {what}: {why}" for what, why in LEFT_OUT.items())
