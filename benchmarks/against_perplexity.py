"""Divergence of formats from F16 beside llama-perplexity's two passes, on the same windows in turns."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import peer_perplexity
import turns
from ours import Ours, say
from peer_perplexity import FIRST_SCORED, WINDOW_TOKENS, Perplexity
from targets import Row

from edgequant.accuracy import items
from edgequant.accuracy.preparation import UNSCORED_TOKENS
from edgequant.convert.vocabulary.tokenizer import Tokenizer

REFERENCE = "F16"
SPEED, DIFFERENCE = 0.9, 2.0  # at least so many times the peer's speed; per cent
_OURS, _EVALUATED, _PEER = "at the same positions", "as edgequant evaluates", "llama-perplexity"


@dataclass(kw_only=True)
class Sides:
    """What each side took in its turns, seconds of both passes; and the mean divergences, in nats."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {_OURS: [], _EVALUATED: [], _PEER: []})
    divergence: dict[str, float] = field(default_factory=dict)
    n_disturbed: int = 0


@dataclass(kw_only=True)
class Comparison:
    """Formats against the reference, on windows that the peer cuts from the text."""

    ours: Ours
    peer: Perplexity
    work: Path
    n_windows: int

    def rows(self, formats: Sequence[str], n_rounds: int) -> Iterator[Row | str]:
        """Of each format the speeds and the divergences."""
        reference, base = self.ours.artifact(REFERENCE), self.work / "base"
        self.peer.base(reference, items.TEXT_FILE, base, n_windows=self.n_windows)
        windows = peer_perplexity.windows(base)
        size = base.stat().st_size / 1e6
        scored = sum(len(window) - 1 - FIRST_SCORED for window in windows)
        yield f"divergence from {REFERENCE}, {len(windows)} windows, {scored:,} positions; peer's file: {size:.0f} MB"
        own = Tokenizer(self.ours.checkpoint).encode(items.TEXT_FILE.read_text(encoding="utf-8"))
        if own[: self.n_windows * WINDOW_TOKENS] != [token for window in windows for token in window]:
            yield "  llama.cpp's tokens of the text are not the checkpoint's"
        for fmt in formats:
            self.ours.artifact(fmt)
            sides = Sides()
            for number in range(n_rounds):
                for side in reversed(sides.seconds) if number % 2 else sides.seconds:
                    say(f"divergence of {fmt}, round {number + 1} of {n_rounds}: {side}")
                    turn = turns.take(partial(self._take, side, fmt, windows))
                    sides.seconds[side].append(turn.seconds)
                    sides.divergence[side] = turn.value
                    sides.n_disturbed += turn.disturbed
            yield from _rows(fmt, sides)

    def _take(self, side: str, fmt: str, windows: Sequence[Sequence[int]]) -> float:
        """Both passes of one side; the mean divergence."""
        if side == _PEER:
            base = self.work / "base"
            self.peer.base(self.ours.artifact(REFERENCE), items.TEXT_FILE, base, n_windows=self.n_windows)
            return self.peer.divergence(self.ours.artifact(fmt), base)[1]
        job = {"windows": windows, "first": FIRST_SCORED if side == _OURS else UNSCORED_TOKENS}
        job["reference"] = str(self.work / "reference.npz")
        self.ours.ask("divergence", REFERENCE, is_reference=True, **job)
        found = self.ours.ask("divergence", fmt, is_reference=False, **job)["kl_divergence"]
        kept = [value for window in found for value in window[FIRST_SCORED - job["first"] :]]
        return statistics.fmean(kept)


def _rows(fmt: str, sides: Sides) -> Iterator[Row | str]:
    theirs, n = sides.seconds[_PEER], len(sides.seconds[_PEER])
    for side in (_OURS, _EVALUATED):
        ratios = sorted(b / a for a, b in zip(sides.seconds[side], theirs, strict=True))
        yield Row(
            figure=f"speed, {fmt}, {side}",
            ours=f"{statistics.median(sides.seconds[side]):.1f} s",
            peer=f"{statistics.median(theirs):.1f} s",
            value=statistics.median(ratios),
            spread=f"({ratios[0]:.2f}-{ratios[-1]:.2f})",
            at_least=SPEED if side == _OURS else None,
        )
        mine, other = sides.divergence[side], sides.divergence[_PEER]
        yield Row(
            figure="  mean KL divergence, and how far off in per cent",
            ours=f"{mine:.6f}",
            peer=f"{other:.6f}",
            value=100 * abs(mine / other - 1),
            at_most=DIFFERENCE,
            unit=" %",
        )
    if sides.n_disturbed:
        yield f"  other processes used the machine before or during {sides.n_disturbed} of these {3 * n} turns"


def compare(
    ours: Ours, work: Path, *, cache: Path, formats: Sequence[str], n_windows: int, n_rounds: int
) -> Iterator[Row | str]:
    """The formats beside llama-perplexity, which is built in `cache`."""
    say("llama-perplexity: builds it unless it is there")
    try:
        peer = peer_perplexity.build(cache, threads=ours.threads, repack=ours.repack)
    except SystemExit as error:
        yield f"without llama-perplexity: {error}"
        return
    yield from Comparison(ours=ours, peer=peer, work=work, n_windows=n_windows).rows(formats, n_rounds)
