"""A row as the rule of the pick sees it: what is known of it on the device that is asked about, and how well."""

from dataclasses import dataclass

from ..accuracy.paired import Interval
from .rows import Row

MEASURED, PREDICTED, ELSEWHERE = "measured", "predicted", "elsewhere"
#: how far a figure may be from another one's without an interval to say so: a single sample by a fifth, and two
#: predictions for the same device, which err together, by 15 % (`planning.prediction`: what formats stray)
SINGLE_SPREAD, PREDICTED_SPREAD = 0.2, 0.15
#: what differs by less is not felt: speeds, and sizes of files
MATERIAL = 1.05
DECODE, PREFILL, MEMORY = "decode_tokens_per_second", "prefill_tokens_per_second", "peak_rss_bytes"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a device: measured on it, predicted for it, or measured on another machine in its place."""

    value: float | None
    interval: Interval | None = None
    basis: str = MEASURED
    note: str = ""  # why there is no number

    def surely_above(self, other: "Figure") -> bool:
        """Whether it is larger by what matters and beyond both spreads; False where one is not known."""
        if self.value is None or other.value is None:
            return False
        return self.value >= MATERIAL * other.value and self._ends()[0] > other._ends()[1]

    def _ends(self) -> tuple[float, float]:
        if self.interval and self.basis != PREDICTED:
            return self.interval.low, self.interval.high
        spread = PREDICTED_SPREAD if self.basis == PREDICTED else SINGLE_SPREAD
        value = self.value or 0.0
        return (1 - spread) * value, (1 + spread) * value


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One row with its figures; `nats` is infinite and `n_bytes` zero where nothing is known."""

    row: Row
    memory: Figure
    decode: Figure
    prefill: Figure
    divergence: Figure
    nats: float
    n_bytes: int

    @property
    def name(self) -> str:
        """The format's name."""
        return self.row.format

    @property
    def is_compared(self) -> bool:
        """Whether its accuracy was compared with the reference's, item by item."""
        return self.row.loss is not None

    @property
    def predicted(self) -> bool:
        """Whether any of its figures is not of the device itself."""
        return any(f.value is not None and f.basis != MEASURED for f in (self.memory, self.decode, self.prefill))


def candidate(row: Row) -> Candidate:
    """The row's figures for the device that it is asked about."""
    nats = row.value("kl_divergence")
    cell = row.cells["kl_divergence"]
    return Candidate(
        row=row,
        memory=figure(row, MEMORY),
        decode=figure(row, DECODE),
        prefill=figure(row, PREFILL),
        divergence=Figure(value=nats, interval=cell.interval, note=cell.note),
        nats=float("inf") if nats is None else nats,
        n_bytes=row.size_bytes or 0,
    )


def figure(row: Row, metric: str) -> Figure:
    """A speed or the memory on the device.

    Where another machine measured in the device's place, a prediction counts instead. Without one the machine's speed
    says nothing of the device's, while the memory of a process is much the same and stands, labelled as what it is.
    """
    cell, guessed = row.cells[metric], row.predicted.get(metric)
    stood_in = row.mark("emulated") is not None
    if cell.value is not None and not stood_in:
        return Figure(value=cell.value, interval=cell.interval)
    if guessed is not None:
        return Figure(value=guessed.estimate, interval=guessed, basis=PREDICTED)
    if cell.value is None:
        return Figure(value=None, note=cell.note)
    if metric == MEMORY:
        return Figure(value=cell.value, interval=cell.interval, basis=ELSEWHERE)
    return Figure(value=None, note="it was measured on another machine, and nothing is predicted for this one")
