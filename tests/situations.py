"""Reads situations.toml: rows in short form, what is asked of them, and the answer that an expert would give.

A table has a line of column names and a line a format. Columns: format, mb (file), rss (MB), nats, decode, prefill,
loss, marks. A number is

    7.0            with an interval of 2 % either way (6 % of a divergence; a peak of memory has none)
    7.0+-0.5       with that interval
    7.0once        one sample, no interval
    4.1~2.7..6.2   predicted, between these ends
    -              never measured

and a loss is `0.4(-1.6..2.5)`, `0.4(-1.6..2.5)/20` for so many items instead of 240, `ref` for the reference and `-`
for none. Marks are separated by commas, without spaces.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import recorded
from edgequant.accuracy.paired import Interval
from edgequant.report.answer import Limits
from edgequant.report.rows import Cell, Mark, Row

FILE = Path(__file__).with_name("situations.toml")
MEMORY = "peak_rss_bytes"
METRICS = {
    "rss": (MEMORY, 1e6),
    "nats": ("kl_divergence", 1.0),
    "decode": ("decode_tokens_per_second", 1.0),
    "prefill": ("prefill_tokens_per_second", 1.0),
}
SAID = {
    "crashed": "every measurement: SIGSEGV",
    "out of memory": "every measurement: the kernel ended it",
    "timed out": "every measurement: no answer within an hour",
    "failed gate": "its answers differ from the checkpoint's",
    "emulated": "measured on another machine than a Raspberry Pi 5; speeds do not carry over",
    "quality not transferable": "the weights lie on the Q4_1 grid",
    "major faults": "the process waited for pages from the disk",
    "limit": "cgroup of 3.60 GB: it limits resident memory; it does not fit: pages had to come back",
    "throttled": "the machine slowed itself down",
    "fell back": "180 of 272 tensors have rows (576) that fit no block of its types",
}


@dataclass(frozen=True)
class Situation:
    """One entry; `expected` holds what the test compares."""

    title: str
    rows: list[Row]
    limits: Limits
    expected: dict[str, Any]


def situations() -> list[Situation]:
    """All of them, in the file's order."""
    told = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [_situation(each, told["ladders"]) for each in told["situation"]]


def _situation(told: dict[str, Any], ladders: dict[str, dict[str, Any]]) -> Situation:
    ladder = ladders[told.pop("ladder")] if "ladder" in told else {}
    lines = _table(told.pop("rows", "") or ladder.get("rows", ""))
    for change in told.pop("but", []):
        name, *pairs = re.split(r" +(?=\w+=)", change)
        lines[name] |= dict(pair.split("=", 1) for pair in pairs)
    only = told.pop("only", "").split() or list(lines)
    rows = [_row(name, lines[name]) for name in only]
    groups = told.pop("tied", ladder.get("tied", []))
    limits = Limits(**told.pop("limits", {}))
    return Situation(told.pop("title"), [_tied(row, groups) for row in rows], limits, told)


def _table(text: str) -> dict[str, dict[str, str]]:
    head, *body = [line.split() for line in text.strip().splitlines()] if text.strip() else [[]]
    return {cells[0]: dict(zip(head[1:], cells[1:], strict=True)) for cells in body}


def _tied(row: Row, groups: list[str]) -> Row:
    others = [name for group in groups if row.format in group.split() for name in group.split() if name != row.format]
    return replace(row, ties=tuple(dict.fromkeys(others)))


def _row(name: str, told: dict[str, str]) -> Row:
    marks = [code.replace("-", " ") for code in told.get("marks", "-").split(",") if code != "-"]
    mb = told.get("mb", "100")
    changes: dict[str, Any] = {
        "marks": tuple(Mark(code=code, sentence=SAID[code]) for code in marks if code != "source")
    }
    made = recorded.row(
        name,
        mb=None if mb == "-" else float(mb),
        loss=None,
        is_reference=told.get("loss") == "ref",
        is_source="source" in marks,
        tensor_types={"Q4_1" if "source" in marks else name: 1.0},
        **changes,
    )
    cells, predicted = dict(made.cells), {}
    for column, (metric, unit) in METRICS.items():
        if column in told:
            cells[metric], guess = _cell(metric, told[column], unit)
            predicted |= {metric: guess} if guess else {}
    return replace(made, cells=cells, predicted=predicted, **_loss(told.get("loss", "-")))


def _cell(metric: str, text: str, unit: float) -> tuple[Cell, Interval | None]:
    if text == "-":
        return recorded.missing("it was never measured"), None
    if match := re.fullmatch(r"([\d.]+)~([\d.]+?)\.\.([\d.]+)", text):
        value, low, high = (unit * float(each) for each in match.groups())
        return recorded.missing("this machine stands in"), Interval(low=low, high=high, estimate=value)
    number, _, noise = text.removesuffix("once").partition("+-")
    value = unit * float(number)
    if text.endswith("once") or (metric == MEMORY and not noise):
        return Cell(value=value, n=1), None
    half = unit * float(noise) if noise else (0.06 if metric == "kl_divergence" else 0.02) * value
    return Cell(value=value, interval=Interval(low=value - half, high=value + half, estimate=value), n=6), None


def _loss(text: str) -> dict[str, Any]:
    if text in ("-", "ref"):
        return {"loss": None, "loss_note": "" if text == "ref" else "no accuracy was measured"}
    estimate, low, high, n = re.fullmatch(r"(-?[\d.]+?)\((-?[\d.]+?)\.\.(-?[\d.]+)\)(?:/(\d+))?", text).groups()  # type: ignore[union-attr]
    made = recorded.paired(float(estimate), float(low), float(high))
    return {"loss": replace(made, n=int(n or 240)), "loss_note": ""}
