"""A picture of the report: plain data for the page's script, and the words that stand for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .rows import Row


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One picture: `kind` names what draws it, `data` is what is drawn, `caption` says how to read it, `words` what it
    shows. `signs` explain its marks, each a sign's name and what it means.
    """

    key: str
    kind: str  # "scatter" | "lines" | "panels"
    title: str
    caption: str
    words: str
    data: dict[str, Any] = field(default_factory=dict)
    signs: tuple[tuple[str, str], ...] = ()
    wide: bool = False  # it takes a row of its own

    def to_json(self) -> dict[str, Any]:
        """What the script needs of it, as plain JSON values."""
        values = asdict(self)
        return {name: values[name] for name in ("key", "kind", "title", "data")}


def kind(row: Row) -> str:
    """What a row's marker tells apart by shape: "source", "onnx" or "gguf"."""
    return "source" if row.is_source else row.container


def named(row: Row) -> dict[str, str]:
    """How every picture's data begins for a format."""
    return {"name": row.format, "kind": kind(row)}


def listed(names: Sequence[str]) -> str:
    """Names with commas between them."""
    return ", ".join(names)


def mb(n_bytes: float) -> float:
    """Bytes in MB, as axes have them."""
    return n_bytes / 1e6
