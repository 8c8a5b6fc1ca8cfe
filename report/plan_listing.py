"""A plan as a table for a terminal of 80 columns; every figure in it is a prediction. Returns renderables."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..profiles.planning.plan import Plan, PlannedFormat
from ..profiles.planning.prediction import ANSWER_TOKENS, PROMPT_TOKENS
from .numbers import digits, size
from .terminal import printable

_UNKNOWN = "not known"
_PROBE = "`edgequant devices probe --save`"
#: what `speed_basis` means, in words
_BASES = {
    "data sheet": "from the device's profile alone; `edgequant devices probe` there makes them closer",
    "probe": "from a probe of the machine",
    "measured rows": "from what was measured there of the same model",
}


def plan(made: Plan) -> RenderableType:
    """Size, memory, fit and speeds of each format, and what the conversion needs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for index, header in enumerate(("format", "file", "memory", "fits", "context", "prefill/s", "decode/s", "load")):
        table.add_column(header, justify="left" if index == 0 else "right", no_wrap=True)
    for each in made.formats:
        table.add_row(*_cells(each))
    head = f"Predicted for {made.checkpoint} on {made.device} at {made.context} tokens of context; nothing is measured."
    return Group(Text(printable(head)), table, *(Text(printable(line)) for line in _lines(made)))


def _cells(each: PlannedFormat) -> list[str]:
    return [
        f"{each.format} !" if each.mark else each.format,
        f"{'' if not each.size_note else '~'}{size(each.size_bytes)}",
        _UNKNOWN if each.peak_memory_bytes is None else size(each.peak_memory_bytes),
        "?" if each.fits is None else "yes" if each.fits else "NO",
        "?" if each.largest_context is None else f"{each.largest_context}",
        _speed(each, "prefill"),
        _speed(each, "decode"),
        "?" if each.load_seconds is None else f"{digits(each.load_seconds, 2)} s",
    ]


def _speed(each: PlannedFormat, metric: str) -> str:
    """The estimate, and from where to where: "98 (64-147)"."""
    name = f"{metric}_tokens_per_second"
    low, estimate, high = (getattr(each, f"{name}{end}") for end in ("_low", "", "_high"))
    if estimate is None:
        return _UNKNOWN
    return f"{digits(estimate, 2)} ({digits(low, 2)}-{digits(high, 2)})"


def _lines(made: Plan) -> Iterator[str]:
    """What stands under the table."""
    yield from (f"{each.format}: {each.why}" for each in made.formats if each.fits is False)
    yield from (f"! {each.format}: {each.mark}: {each.mark_reason}" for each in made.formats if each.mark)
    yield from _fallen(made)
    notes = dict.fromkeys(each.size_note for each in made.formats if each.size_note)
    yield from (f"~ {note}" for note in notes)
    bases = {each.speed_basis for each in made.formats if each.speed_basis}
    for basis in sorted(bases):
        yield (
            f"Speeds are expected within the brackets, {_BASES[basis]}: a prompt of {PROMPT_TOKENS} tokens, "
            f"{ANSWER_TOKENS} after it."
        )
    if any(each.decode_tokens_per_second is None for each in made.formats) and made.conversion_memory_bytes is not None:
        yield f"Speeds are not known where {made.device}'s profile tells too little; {_PROBE} measures it there."
    if any(each.largest_context is not None for each in made.formats):
        yield "context: the most tokens whose memory the device has; memory grows by " + _growth(made) + "."
    yield from made.notes
    yield _needs(made)


def _fallen(made: Plan) -> Iterator[str]:
    fallen = [each for each in made.formats if each.n_fallbacks]
    if fallen:
        said = ", ".join(f"{each.format} {each.bits_per_weight:.2f}" for each in fallen)
        yield f"Rows of this model fit no block of some types, which makes files larger; bits a weight: {said}."


def _growth(made: Plan) -> str:
    slopes = {each.container: each.memory_line.bytes_per_token for each in made.formats if each.memory_line}
    return " and ".join(f"{size(slope)} a token ({container})" for container, slope in slopes.items())


def _needs(made: Plan) -> str:
    needs = f"Converting needs {size(made.disk_bytes)} of disk"
    if made.conversion_memory_bytes is not None:
        needs += f" and {size(made.conversion_memory_bytes)} of memory"
    return f"{needs}{_time(made.conversion_seconds)}."


def _time(seconds: float | None) -> str:
    if seconds is None or seconds <= 0:
        return ""
    minutes = seconds / 60
    return f", and about {digits(minutes, 2)} minutes here" if minutes >= 2 else f", and about {seconds:.0f} s here"
