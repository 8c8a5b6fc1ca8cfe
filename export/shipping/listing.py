"""What was exported, for the terminal: the files, what to know of them, and what to type next."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...report.numbers import size
from ...report.terminal import printable
from .written import Written


def written(made: Written, *, head: str, excerpt: str = "") -> RenderableType:
    """The files with their sizes under a first line; `excerpt` is the beginning of a text among them."""
    parts: list[RenderableType] = [Text(printable(f"{head}: {made.format}, {size(made.size_bytes)}"), style="bold")]
    parts.append(Padding(_files(made), (0, 0, 0, 2)))
    parts += [Text(printable(_sentence(note))) for note in made.notes]
    if excerpt:
        shown = Group(*(Text(printable(line)) for line in excerpt.splitlines()))
        parts += [Text("\nThe card begins:\n"), Padding(shown, (0, 0, 0, 2))]
    if made.next_steps:
        parts += [Text("\nNext:"), *(Padding(Text(printable(step)), (0, 0, 0, 2)) for step in made.next_steps)]
    return Group(*parts)


def _files(made: Written) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, n_bytes in made.files.items():
        grid.add_row(size(n_bytes), Text(printable(name)))
    return grid


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith((".", ")")) else ".")
