"""The columns of the table of variants, for terminal, Markdown and page alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import numbers
from .columns import Text, cell_text
from .rows import Mark
from .variants import VariantRow


@dataclass(frozen=True, kw_only=True)
class VariantColumn:
    """One column: title, what it says, and its text."""

    title: str
    meaning: str
    text: Callable[[VariantRow], Text]
    spreads: bool = True  # whether its interval is worth room where that is short


def _of(metric: str) -> Callable[[VariantRow], Text]:
    def text(row: VariantRow) -> Text:
        cell = row.cells[metric]
        if cell.value is None and cell.status == "missing":
            return Text(main="-", detail=cell.note, missing=True)
        made = cell_text(cell, numbers.FORMS[metric])
        if cell.value is None or not cell.n:
            return made
        detail = f"{made.detail}, n {cell.n}" if made.detail else f"n {cell.n}"
        return Text(main=made.main, detail=detail, between=made.between)

    return text


VARIANT_COLUMNS: Sequence[VariantColumn] = (
    VariantColumn(
        title="Prefill",
        meaning="tokens/s reading a prompt, of all users together",
        text=_of("prefill_tokens_per_second"),
    ),
    VariantColumn(
        title="Decode", meaning="tokens/s writing, of all users together", text=_of("decode_tokens_per_second")
    ),
    VariantColumn(title="Memory", meaning="peak RSS", text=_of("peak_rss_bytes"), spreads=False),
    VariantColumn(
        title="Must fit",
        meaning="memory that must be free so that nothing is paged",
        text=_of("must_fit_bytes"),
        spreads=False,
    ),
    VariantColumn(
        title="KL div.",
        meaning="mean divergence from the same file run plainly, nats a token",
        text=_of("kl_divergence"),
    ),
)


def footnotes(rows: Sequence[VariantRow]) -> dict[Mark, str]:
    """Every mark once, with the rows that carry it."""
    carriers: dict[Mark, list[str]] = {}
    for row in rows:
        for mark in row.marks:
            carriers.setdefault(mark, []).append(f"{row.format} {row.differs}")
    return {mark: "; ".join(names) for mark, names in carriers.items()}
