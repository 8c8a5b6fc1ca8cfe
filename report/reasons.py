"""Why this format: what it was chosen among, how that was decided, and what stands in the way of each better one."""

from collections.abc import Sequence

from . import numbers
from .answer import Limits, Verdict
from .candidates import Candidate
from .ranking import EQUAL_NATS, comes_before, comparable
from .rows import Mark
from .sentences import listed

#: from here on a format answers differently often enough to be said: llama.cpp's table for Llama 3 8B has 0.15 for
#: Q3_K_S and 0.45 for Q2_K (tools/perplexity/README.md)
FAR_NATS = 0.2
#: codes of what keeps a format from being judged at all
UNKNOWN = {"failed", "not eligible", "emulated", "missing"}
_CLEARLY = "by 5 % and beyond the intervals"


def why(
    winner: Candidate, equals: Sequence[Candidate], standing: Sequence[Candidate], limits: Limits, verdict: Verdict
) -> tuple[str, ...]:
    """What speaks for the winner among all that stand, what it is not certain of, and what to mind."""
    said = [
        _deciding(winner, equals, standing, limits),
        _certainty(winner, verdict, limits),
        _ties(winner, limits.task),
    ]
    ahead = [c for c in ranked(standing, limits.prefer) if c is not winner and comes_before(c, winner, limits.prefer)]
    said += [_passed_over(c, winner, equals, limits.prefer) for c in ahead]
    said += [_mind(winner, mark) for mark in winner.row.marks if mark.code != "note"]
    return tuple(s for s in [*said, *_far(winner)] if s)


def ranked(found: Sequence[Candidate], prefer: str) -> list[Candidate]:
    """The best in what is preferred first."""
    if prefer == "speed":
        return sorted(found, key=lambda c: -(c.decode.value or 0))
    return sorted(found, key=lambda c: c.n_bytes if prefer == "size" else c.nats)


def better_out(
    winner: Candidate | None, found: Sequence[Candidate], verdicts: Sequence[Verdict], prefer: str
) -> tuple[str, ...]:
    """The formats that are out and would come before the winner, then those of which nothing can be known.

    Without a winner that is all of them, in their order.
    """
    verdict = {v.format: v for v in verdicts}
    out = [c for c in found if verdict[c.name].standing == "out"]
    if winner is None:
        return tuple(c.name for c in out)
    before = [c for c in ranked(out, prefer) if comes_before(c, winner, prefer)]
    failed = [c for c in out if c not in before and {r.code for r in verdict[c.name].reasons} & UNKNOWN]
    return tuple(c.name for c in (*before, *failed))


def out(verdict: Verdict) -> str:
    """The line that says why a format is out."""
    return f"{verdict.format} is out: {'; '.join(r.sentence for r in verdict.reasons)}."


def _deciding(winner: Candidate, equals: Sequence[Candidate], standing: Sequence[Candidate], limits: Limits) -> str:
    if len(standing) == 1:
        return "Nothing else fits."
    if limits.prefer == "speed":
        return _fastest(winner, equals)
    if limits.prefer == "size":
        return _smallest(winner, equals)
    if len(equals) < 2:
        return "Of all that fit it diverges least, and nothing else that fits counts as equally good."
    names = listed([c.name for c in equals])
    return f"{names} count as equally good: {_alike(equals, limits.task)}. Among them {_tie_break(winner, equals)}."


def _fastest(winner: Candidate, equals: Sequence[Candidate]) -> str:
    if len(equals) == 1:
        return f"It decodes fastest of all that fit, {_CLEARLY}."
    names = listed([c.name for c in equals])
    return f"{names} decode about as fast (none is faster {_CLEARLY}); of them it diverges least."


def _smallest(winner: Candidate, equals: Sequence[Candidate]) -> str:
    if len(equals) == 1:
        return "It is the smallest of all that fit, by more than 5 %."
    return f"{listed([c.name for c in equals])} are about as small, within 5 %; of them it diverges least."


def _alike(equals: Sequence[Candidate], task: str) -> str:
    """On what grounds they count as equally good."""
    first = equals[0]
    measured = all(comparable(first, c) for c in equals[1:])
    where = f" in {task}" if task else ""
    told = (
        f"on these items their accuracy{where} cannot be told apart from that of {first.name}"
        if measured
        else "their accuracy was not measured"
    )
    near = all(c.nats <= EQUAL_NATS for c in equals)
    return (
        f"{told}, and none diverges by more than {EQUAL_NATS} nats"
        if near
        else f"{told}, and none diverges by a tenth more"
    )


def _tie_break(winner: Candidate, equals: Sequence[Candidate]) -> str:
    if all(c.decode.value is None for c in equals):
        return f"none has a decode speed that is known, and {_small(winner, equals)}"
    beaten = [c for c in equals if c is not winner and winner.decode.surely_above(c.decode)]
    if len(beaten) == len(equals) - 1:
        return f"{winner.name} decodes fastest, {_CLEARLY}"
    small = _small(winner, [c for c in equals if c not in beaten and c.decode.value is not None])
    if beaten:
        return f"{small} of those that nothing beats in decode speed"
    return f"none decodes faster {_CLEARLY}, and {small}"


def _small(winner: Candidate, others: Sequence[Candidate]) -> str:
    if winner.n_bytes == min(c.n_bytes for c in others):
        return f"{winner.name} is the smallest file"
    return f"{winner.name} diverges least of the smallest files, which are within 5 %"


def _certainty(winner: Candidate, verdict: Verdict, limits: Limits) -> str:
    if limits.max_loss is None or winner.row.is_reference or winner.row.loss is None:
        return ""
    paired = winner.row.loss
    limit, between = numbers.points(limits.max_loss), numbers.span(paired.loss, numbers.points)
    if verdict.standing == "certified":
        return f"Certified: the whole interval of its loss, {between}, is within the limit of {limit} points."
    return (
        f"Not certain: the interval of its loss, {between}, holds the limit of {limit} points, so {paired.n} items "
        f"cannot decide whether it keeps to it{_doubtful(winner, limits.max_loss)}."
    )


def _doubtful(winner: Candidate, limit: float) -> str:
    """What else there is to say where the measured loss itself is over the limit."""
    if winner.row.loss is None or winner.row.loss.loss.estimate <= limit:
        return ""
    if winner.nats <= EQUAL_NATS:
        return f" (it measured more, but diverges by no more than {EQUAL_NATS} nats)"
    return " (it measured more, but a format that diverges as much keeps to it)"


def _ties(winner: Candidate, task: str) -> str:
    if not winner.row.ties:
        return ""
    where, others = f" in {task}" if task else "", listed(winner.row.ties)
    return f"Its accuracy{where} cannot be told apart from that of {others} (at 95 %, all pairs together)."


def _passed_over(found: Candidate, winner: Candidate, equals: Sequence[Candidate], prefer: str) -> str:
    """Why a format that stands, and is better in what is preferred, is not the pick."""
    if prefer == "speed":
        rate = numbers.rate(found.decode.value or 0)
        return f"{found.name} decodes {rate} tokens/s, not clearly more, and {_further(found)}."
    if prefer == "size":
        return f"{found.name} is hardly smaller, {numbers.size(found.n_bytes)}, and {_further(found)}."
    if found not in equals:
        return f"{found.name} does not count as equally good: its accuracy can be told apart from {equals[0].name}'s."
    if winner.decode.surely_above(found.decode):
        return f"{found.name} is slower: it decodes {numbers.rate(found.decode.value or 0)} tokens/s."
    if found.decode.value is None and winner.decode.value is not None:
        return f"{found.name} has no decode speed that is known."
    if found.n_bytes > winner.n_bytes:
        return f"{found.name} is larger, {numbers.size(found.n_bytes)}, and not faster {_CLEARLY}."
    return f"{found.name} is slower than the fastest of them {_CLEARLY}."


def _further(found: Candidate) -> str:
    if found.divergence.value is None:
        return "how far it diverges is not known"
    return f"is further from the reference, {numbers.nats(found.nats)} nats"


def _mind(winner: Candidate, mark: Mark) -> str:
    bits = winner.row.true_bits_per_weight
    if mark.code == "fell back" and bits is not None:
        return f"Mind: its label is only a label; {mark.sentence}, and the file really holds {bits:.2f} bits a weight."
    return f"Mind: {mark.code}: {mark.sentence}."


def _far(winner: Candidate) -> list[str]:
    """That the pick is far from the reference, or surely loses accuracy, where it is or does."""
    row, said = winner.row, []
    same = row.cells["same_top_token"].value
    if FAR_NATS <= winner.nats < float("inf"):
        often = (
            f": at {numbers.share(1 - same)} of positions another token is the most likely one"
            if same is not None
            else ""
        )
        said.append(f"Mind: {numbers.nats(winner.nats)} nats are far from the reference{often}.")
    if row.loss and row.corrected is not None and row.corrected < 0.05 and row.loss.loss.low > 0:
        said.append(f"Mind: its loss is no chance: at least {numbers.points(row.loss.loss.low)} points.")
    return said
