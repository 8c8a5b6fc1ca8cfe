"""What evaluating a format takes: seconds of the suite `quick`, and memory beyond that of running it."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import turns
from ours import Ours, say
from targets import Row

REFERENCE = "F16"
SECONDS, BEYOND_BYTES = 30.0, 500_000_000


def rows(ours: Ours, work: Path, formats: Sequence[str], *, limit: int | None) -> Iterator[Row | str]:
    """Of each format, the reference first, whose own answers the others are compared with."""
    prepared = work / "quick.json"
    ours.prepare(prepared, limit=limit)
    yield "the suite `quick` with its text, one process a format"
    for fmt in formats:
        running = ours.running_bytes(fmt)
        say(f"the suite quick: {fmt}")
        turn = turns.take(partial(_evaluate, ours, fmt, prepared, work / "quick.npz"))
        noted = "  (others used the machine)" if turn.disturbed else ""
        yield Row(
            figure=f"seconds, {fmt}{noted}",
            ours=f"{turn.seconds:.1f} s",
            value=turn.seconds,
            at_most=SECONDS,
            unit=" s",
        )
        peak, allowed = turn.value["peak_bytes"], running + BEYOND_BYTES
        yield Row(
            figure=f"peak MB evaluating {fmt} / running it and {BEYOND_BYTES / 1e6:.0f} MB",
            ours=f"{peak / 1e6:.0f}",
            peer=f"{allowed / 1e6:.0f}",
            value=peak / allowed,
            at_most=1.0,
        )


def _evaluate(ours: Ours, fmt: str, prepared: Path, reference: Path) -> dict[str, Any]:
    job = {"prepared": str(prepared), "reference": str(reference), "reference_key": "benchmark"}
    return ours.ask("evaluate", fmt, is_reference=fmt == REFERENCE, **job)
