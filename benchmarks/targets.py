"""The figures that ONNX artifacts are to reach, and the tables that say whether they do."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from made import Made
from rounds import Samples

GENAI, OPTIMUM, LLAMA = "genai int8", "Optimum int8", "llama.cpp Q8_0"
_MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was found of one model; bytes, nats, and tokens per second."""

    made: Mapping[str, Made]
    divergence: Mapping[str, float]
    samples: Samples
    resident: Mapping[str, int]
    cache_bytes: int
    growth: Mapping[int, int]
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        made = {name: {**asdict(each), "path": each.path.name} for name, each in self.made.items()}
        return {**asdict(self), "made": made}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: both sides, and the figure that is to be at most (or at least) the target; None where there is none."""

    figure: str
    ours: str
    peer: str = ""
    value: float = math.nan
    spread: str = ""
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def target(self) -> str:
        """The target and the verdict."""
        limit = self.at_most if self.at_most is not None else self.at_least
        if limit is None:
            return ""
        reached = self.value <= limit if self.at_most is not None else self.value >= limit
        verdict = "not known" if math.isnan(self.value) else "reached" if reached else "MISSED"
        return f"{'at most' if self.at_most is not None else 'at least'} {limit:g}{self.unit}: {verdict}"


def table(name: str, results: Results) -> str:
    """The targets, then every artifact."""
    lines = [f"\n{name}", f"{'':50}{'ours':>12}{'beside':>12}{'figure':>9}  {'(spread)':16}target"]
    for row in _rows(results):
        value = "" if math.isnan(row.value) else f"{row.value:.3g}"
        lines.append(f"{row.figure:50}{row.ours:>12}{row.peer:>12}{value:>9}  {row.spread:16}{row.target}".rstrip())
    if results.samples.started_busy:
        lines.append(f"{results.samples.started_busy} times the machine was busy when the rounds began")
    return "\n".join([*lines, *results.notes, "", *_overview(results)])


def _rows(results: Results) -> Iterator[Row]:
    yield from _quality(results)
    yield from _sizes(results)
    yield from _speeds(results)
    yield from _memory(results)


def _quality(results: Results) -> Iterator[Row]:
    found = results.divergence
    q8 = found.get(LLAMA, math.nan)
    for name, value in found.items():
        if name != LLAMA:
            limit = 1.5 if name == "onnx-int8" else None
            yield _row(f"KLD {name} / Q8_0", value, q8, ".5f", at_most=limit)
    if "onnx-w8a8" in found:
        text = f"{found['onnx-w8a8']:.4f}"
        yield Row(figure="KLD onnx-w8a8", ours=text, value=found["onnx-w8a8"], at_most=0.06)
    for name in ("onnx-int8-dynamic", "onnx-w8a8", "onnx-int8-static"):
        if f"{name}-smooth" in found and name in found:
            limit = 0.2 if name == "onnx-int8-dynamic" else None
            yield _row(f"KLD {name}-smooth / {name}", found[f"{name}-smooth"], found[name], ".5f", at_most=limit)


def _sizes(results: Results) -> Iterator[Row]:
    if {"onnx-int8", "Q8_0"} <= results.made.keys():
        ours, peer = results.made["onnx-int8"].size_bytes, results.made["Q8_0"].size_bytes
        yield _row("MB onnx-int8 / Q8_0", ours / _MB, peer / _MB, ".1f", at_most=1.15)
        if GENAI in results.made:
            yield _row("MB onnx-int8 / genai int8", ours / _MB, results.made[GENAI].size_bytes / _MB, ".1f")


def _speeds(results: Results) -> Iterator[Row]:
    wanted: list[tuple[str, str, str, float | None]] = [
        ("decode", "onnx-int8", GENAI, 0.97),
        ("decode", "onnx-int8", OPTIMUM, 1.6),
        ("decode", "onnx-int8", LLAMA, None),
        ("decode", "onnx-w8a8", LLAMA, None),
    ]
    for length in ("prefill 128", "prefill 512"):
        wanted += [
            (length, "onnx-int8", LLAMA, 0.6),
            (length, "onnx-w8a8", LLAMA, 1.5),
            (length, "onnx-int8", GENAI, None),
        ]
    for work, ours, peer, limit in wanted:
        if peer in results.samples.of[work]:
            yield _speed(results.samples, work, ours, peer, limit)


def _speed(samples: Samples, work: str, ours: str, peer: str, limit: float | None) -> Row:
    ratios = samples.ratios(work, ours, peer)
    dropped = len(samples.of[work][peer]) - len(ratios)
    spread = f"({ratios[0]:.2f}-{ratios[-1]:.2f})" if ratios else "(none)"
    return Row(
        figure=f"{work} {ours} / {peer}",
        ours=f"{samples.speed(work, ours):.1f}/s",
        peer=f"{samples.speed(work, peer):.1f}/s",
        value=statistics.median(ratios) if ratios else math.nan,
        spread=spread + (f" -{dropped}" if dropped else ""),
        at_least=limit,
    )


def _memory(results: Results) -> Iterator[Row]:
    for layers, peak in results.growth.items():
        yield Row(
            figure=f"peak MB, converting {layers} layers to onnx-int8",
            ours=f"{peak / _MB:.0f}",
            value=peak / _MB,
            at_most=1000,
            unit=" MB",
        )
    if len(results.growth) > 1:
        least, most = (results.growth[pick(results.growth)] for pick in (min, max))
        yield _row("that of most layers / of fewest", most / _MB, least / _MB, ".0f", at_most=1.05)
    elif "onnx-int8" in results.made:
        peak = results.made["onnx-int8"].peak_bytes / _MB
        yield Row(figure="peak MB, converting to onnx-int8", ours=f"{peak:.0f}", value=peak, at_most=1000, unit=" MB")
    if "onnx-int8" in results.resident:
        used = (results.resident["onnx-int8"] - results.cache_bytes) / _MB
        limit = 1.3 * results.made["onnx-int8"].size_bytes / _MB + 120
        yield _row("peak MB, running onnx-int8 / allowed", used, limit, ".0f", at_most=1.0)


def _row(figure: str, ours: float, peer: float, layout: str, *, at_most: float | None = None) -> Row:
    return Row(figure=figure, ours=f"{ours:{layout}}", peer=f"{peer:{layout}}", value=ours / peer, at_most=at_most)


def _overview(results: Results) -> Iterator[str]:
    """Every engine and artifact on a line of its own."""
    works = list(results.samples.of)
    yield (
        f"{'':26}{'MB':>9}{'KLD':>10}"
        + "".join(f"{work:>14}" for work in works)
        + f"{'peak RSS':>10}{'made in':>9}{'peak':>9}"
    )
    for name in dict.fromkeys([*results.made, *results.divergence, *results.samples.of.get("decode", {})]):
        key = "Q8_0" if name == LLAMA else name
        made = results.made.get(key)
        cells = [f"{made.size_bytes / _MB:>9.1f}" if made else f"{'':9}"]
        cells.append(f"{results.divergence[name]:>10.5f}" if name in results.divergence else f"{'':10}")
        for work in works:
            speed = results.samples.speed(work, name)
            cells.append(f"{'':14}" if math.isnan(speed) else f"{f'{speed:.1f}/s':>14}")
        cells.append(f"{results.resident[key] / _MB:>7.0f} MB" if key in results.resident else f"{'':10}")
        cells.append(f"{made.seconds:>7.1f} s{made.peak_bytes / _MB:>6.0f} MB" if made and name != LLAMA else "")
        yield f"{name:26}" + "".join(cells).rstrip()
