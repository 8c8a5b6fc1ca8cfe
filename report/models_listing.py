"""The comparison of several models, for a terminal and as Markdown."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import numbers
from .markdown import escaped
from .models import Duel, Entry, Models
from .terminal import printable

_ENTRIES = ("Model", "Format", "Size", "Memory", "Decode", "Accuracy")
_DUELS = ("Room", "Larger model", "Smaller model", "Points more", "95 %", "p", "Better")


def listing(found: Models) -> RenderableType:
    """Entries, duels and what they come to, for a terminal."""
    parts: list[RenderableType] = [_table("Models", _ENTRIES, [_entry(entry) for entry in found.entries])]
    if found.duels:
        parts += [Text(), _table(_title(found), _DUELS, [_duel(duel) for duel in found.duels])]
    parts += [Text(), *(Text(printable(said)) for said in sentences(found))]
    parts += [Text(printable(note), style="dim") for note in _notes(found)]
    return Group(*parts)


def markdown(found: Models) -> str:
    """The same as Markdown text; everything that came from outside is escaped."""
    blocks = [f"# Models {_title(found).lower()}", *(escaped(said) for said in sentences(found))]
    blocks.append(_rows(_ENTRIES, [_entry(entry) for entry in found.entries]))
    if found.duels:
        blocks.append(_rows(_DUELS, [_duel(duel) for duel in found.duels]))
        blocks.append(_by_kind(found.duels))
    blocks.append("\n".join(f"- {escaped(note)}" for note in _notes(found)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def sentences(found: Models) -> Iterator[str]:
    """The answer for each model's unquantised format, as a person would say it."""
    asked = [duel for duel in found.duels if duel.smaller.is_reference]
    if not asked:
        room = "takes as little memory" if found.by == "memory" else "is as small a file"
        yield f"No larger model, however quantised, {room} as a smaller one unquantised."
    for duel in asked:
        loss, larger, smaller = duel.paired.loss, duel.larger, duel.smaller
        room = f"In the {numbers.size(smaller.room_bytes)} of {smaller.name}"
        between = f"95 % interval {numbers.span(loss, numbers.points)}, {duel.paired.n} items"
        if duel.verdict == "neither":
            yield f"{room}, {larger.name} cannot be told apart from it ({between})."
        else:
            word = "more" if loss.estimate > 0 else "fewer"
            better = larger if duel.verdict == "larger" else smaller
            points = numbers.points(abs(loss.estimate))
            yield f"{room}, {larger.name} answers {points} points {word} ({between}): take {better.name}."


def _title(found: Models) -> str:
    return "At equal memory" if found.by == "memory" else "At equal size"


def _entry(entry: Entry) -> tuple[str, ...]:
    share = sum(entry.outcomes.values()) / len(entry.outcomes)
    decode = "-" if entry.decode is None else numbers.rate(entry.decode)
    size, memory = numbers.size(entry.size_bytes), numbers.size(entry.memory_bytes)
    return entry.model, entry.format, size, memory, decode, numbers.share(share)


def _duel(duel: Duel) -> tuple[str, ...]:
    loss = duel.paired.loss
    return (
        numbers.size(duel.smaller.room_bytes),
        f"{duel.larger.name} ({numbers.size(duel.larger.room_bytes)})",
        duel.smaller.name,
        numbers.points(loss.estimate),
        numbers.span(loss, numbers.points),
        numbers.p_value(duel.corrected).removeprefix("= "),
        duel.verdict,
    )


def _notes(found: Models) -> Iterator[str]:
    fits = "takes no more memory" if found.by == "memory" else "is no larger"
    yield (
        f"Over the {found.n_common} items that all answered. Memory is what must fit. Each format of the smaller model "
        f"meets the larger model's least divergent one that {fits}; p is McNemar's, corrected for the number of "
        "comparisons (Holm)."
    )
    yield from found.notes


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    made.show_edge, made.pad_edge, made.padding = False, False, (0, 1, 0, 0)
    for number, name in enumerate(head):
        made.add_column(name, justify="left" if number < 2 or "model" in name else "right", overflow="fold")
    for cells in rows:
        made.add_row(*(Text(printable(cell)) for cell in cells))
    return made


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *([escaped(cell) for cell in cells] for cells in rows)]
    first, *rest = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([first, "|" + "---|" * len(head), *rest])


def _by_kind(duels: Sequence[Duel]) -> str:
    kinds = list(dict.fromkeys(kind for duel in duels for kind in duel.by_kind))
    if not kinds:
        return ""
    rows = []
    for duel in duels:
        cells = []
        for kind in kinds:
            paired, p_value = duel.by_kind[kind]
            told = f"{numbers.points(paired.loss.estimate)} ({numbers.span(paired.loss, numbers.points)})"
            cells.append(f"{told}{'*' if p_value < 0.05 else ''}")
        rows.append([f"{duel.larger.name} against {duel.smaller.name}", *cells])
    return _rows(["Points more, by kind; * told apart", *kinds], rows)
