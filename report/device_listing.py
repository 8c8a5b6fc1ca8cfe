"""Device profiles for the terminal. Returns rich renderables, prints nothing."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..convert.formats import FORMATS
from ..profiles.device import Device, sources
from ..profiles.kernels import fact
from .numbers import size
from .terminal import printable


def devices(found: Sequence[Device]) -> RenderableType:
    """One line a profile."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("name", "cores", "memory", "usable", "device"):
        table.add_column(header, justify="left" if header in ("name", "device") else "right")
    for each in found:
        memory, usable = size(each.ram_bytes), size(each.usable_ram_bytes)
        table.add_row(each.name, str(each.n_cores), memory, usable, Text(printable(each.title)))
    return table


def device(found: Device) -> RenderableType:
    """Every figure of one profile, with its source; its notes, and what is to be said of formats there."""
    stated = sources(found.name)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("figure", "value", "source"):
        table.add_column(header)
    for key, value in vars(found).items():
        if key != "notes":
            table.add_row(key, Text(printable(_shown(key, value))), Text(printable(stated.get(key, ""))))
    marks = [f"{name}: {said.word}: {said.reason}" for name in FORMATS if (said := fact(name, found.isa))]
    return Group(table, *(Text(printable(f"- {note}")) for note in (*found.notes, *marks)))


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    if key.endswith("bytes_per_second"):
        return f"{size(value)}/s"
    if key == "cores":
        return ", ".join(f"{each.count} {each.kind}" for each in value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return size(value) if key.endswith("bytes") else str(value)
