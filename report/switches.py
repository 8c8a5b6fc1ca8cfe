"""Mapping and repacking: which way of each the measurements speak for, format by format."""

from collections.abc import Iterator, Mapping, Sequence

from . import numbers
from .rows import STATUSES, Cell
from .variants import VariantRow

#: differences of memory below this share are left to chance: pages that happen to be resident
EQUAL_SHARE = 0.02
_SWITCHES: Mapping[str, str] = {"mmap": "mapping the file", "repack": "repacking the weights"}
_SPEEDS = {"decode_tokens_per_second": "decode", "prefill_tokens_per_second": "prefill"}


def advice(rows: Sequence[VariantRow]) -> tuple[str, ...]:
    """A sentence for each format that was run with a switch on and off, nothing else differing."""
    return tuple(_said(on, off, name) for name in _SWITCHES for on, off in _pairs(rows, name))


def _pairs(rows: Sequence[VariantRow], switch: str) -> Iterator[tuple[VariantRow, VariantRow]]:
    for off in rows:
        if off.variant.get(switch) is False:
            rest = {key: value for key, value in off.variant.items() if key != switch}
            yield from ((on, off) for on in rows if on.format == off.format and dict(on.variant) == rest)


def _said(on: VariantRow, off: VariantRow, switch: str) -> str:
    besides = "" if not on.variant else f" ({on.differs})"
    return f"{on.format}{besides}: {_SWITCHES[switch]}: {_compared(on, off)}."


def _compared(on: VariantRow, off: VariantRow) -> str:
    failed = [row for row in (on, off) if row.cells["decode_tokens_per_second"].value is None]
    if failed:
        return _where_one_failed(on, off)
    memory = _memory(on.cells["must_fit_bytes"], off.cells["must_fit_bytes"])
    slower, faster = _told_apart(on, off), _told_apart(off, on)
    said = [*([memory[1]] if memory[1] else []), *(f"{name} slower without" for name in slower)]
    said += [f"{name} faster without" for name in faster]
    less, more = memory[0] < 0, memory[0] > 0
    if (less or faster) and not (slower or more):
        return f"leave it out ({', '.join(said)})"
    if (slower or more) and not (less or faster):
        return f"keep it ({', '.join(said)})"
    return f"a trade ({', '.join(said)})" if said else "no difference beyond the intervals"


def _where_one_failed(on: VariantRow, off: VariantRow) -> str:
    status = {row.differs: row.cells["decode_tokens_per_second"] for row in (on, off)}
    worked = [row for row in (on, off) if status[row.differs].value is not None]
    if not worked:
        return "neither way worked"
    broken = status[(off if worked[0] is on else on).differs].status
    word = STATUSES.get(broken, broken)
    return f"keep it (without: {word})" if worked[0] is on else f"leave it out (with it: {word})"


def _memory(on: Cell, off: Cell) -> tuple[int, str]:
    """-1 where less must fit without, 1 where more; and in words."""
    if on.value is None or off.value is None or abs(off.value - on.value) <= EQUAL_SHARE * on.value:
        return 0, ""
    return (
        -1 if off.value < on.value else 1
    ), f"{numbers.size(off.value)} must fit without, {numbers.size(on.value)} with"


def _told_apart(fast: VariantRow, slow: VariantRow) -> list[str]:
    """Phases in which the first is faster beyond both intervals."""
    found = []
    for metric, name in _SPEEDS.items():
        ours, theirs = fast.cells[metric].interval, slow.cells[metric].interval
        if ours and theirs and ours.low > theirs.high:
            found.append(name)
    return found
