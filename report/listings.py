"""Short lists for the terminal: artifacts and their checks. Returns rich renderables, prints nothing."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..convert.artifact import Artifact
from .numbers import size
from .terminal import printable

#: what stands before a check; the words beside it say the same
VERDICT_SIGNS = {"passed": "✓", "failed": "✗", "warning": "!", "not checked": "-"}


def _table(*headers: str, texts: Sequence[str] = ()) -> Table:
    """A table of numbers, right-aligned; the first column and those named in `texts` are words, left-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers):
        words = index == 0 or header in texts
        table.add_column(header, justify="left" if words else "right", no_wrap=index == 0)
    return table


def artifacts(made: Sequence[Artifact]) -> RenderableType:
    """Format, size, true bits and tensor types of what was made, and what its checks said."""
    table = _table("format", "size", "bits/weight", "seconds", "tensor types", texts=("tensor types",))
    for artifact in made:
        types = [f"{type_} {share:.0%}" for type_, share in artifact.tensor_types.items() if share >= 0.005]
        bits = f"{artifact.true_bits_per_weight:.2f}"
        table.add_row(artifact.format, size(artifact.size_bytes), bits, f"{artifact.seconds:.1f}", ", ".join(types))
    noted = [f"{a.format}: {note}" for a in made for note in a.notes if not note.startswith("failed gate")]
    return Group(table, *map(checks, made), *(Text(printable(line)) for line in noted))


def checks(artifact: Artifact) -> RenderableType:
    """What the gate said of an artifact, part by part: a tick, a cross, or a word for what is neither."""
    if not artifact.checks:
        return Text(printable(f"{artifact.format}: not verified"))
    table = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.columns[2].no_wrap = False
    for what, result in artifact.checks.items():
        verdict, _, said = result.partition(": ")
        sign = VERDICT_SIGNS.get(verdict, "?")
        words = said if verdict in ("passed", "failed") else result
        table.add_row(f"  {sign}", what, Text(printable(words)))
    return Group(Text(printable(f"{artifact.format}:")), table)
