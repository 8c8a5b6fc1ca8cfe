"""The pick as a person would say it: numbers with their intervals, and plain words for what is not known."""

from collections.abc import Sequence

from . import numbers
from .answer import EQUAL_NATS, Limits, Miss, Verdict
from .rows import Mark, Row


def headline(winner: Row | None, nearest: Miss | None) -> str:
    """The first sentence: what to ship, or that nothing fits and what comes nearest."""
    if winner:
        return f"Ship {called(winner)}."
    if nearest:
        return f"Nothing fits. Nearest is {nearest.sentence}."
    return "Nothing can be picked: no format has a file and the measurements that the question needs."


def called(row: Row) -> str:
    """A format's name in a sentence; the quantised source is no format of ours and gets words."""
    if not row.is_source:
        return row.format
    return f"the source file as it is ({main_type(row)})" if row.tensor_types else "the source file as it is"


def main_type(row: Row) -> str:
    """The tensor type that holds most weights."""
    return max(row.tensor_types, key=lambda name: row.tensor_types[name], default="")


def described(row: Row, reference: str) -> str:
    """A format in one sentence: size, memory, speeds, divergence, loss; what was not measured is left out."""
    said = [s for s in (_file(row), _speed(row), _divergence(row, reference), loss(row, reference)) if s]
    return f"It {', '.join(said[:-1])}{', and ' if len(said) > 1 else ''}{said[-1]}."


def loss(row: Row, reference: str) -> str:
    """The paired loss with interval, confidence, flips and items."""
    if row.is_reference:
        return "is the reference that the others are compared with"
    if row.loss is None:
        return ""
    paired, estimate = row.loss, row.loss.loss.estimate
    between = numbers.span(paired.loss, numbers.points)
    if estimate > 0:
        said = f"loses {numbers.points(estimate)} points of accuracy to {reference}"
    elif estimate < 0:
        said = f"scores {numbers.points(-estimate)} points above {reference}"
    else:
        said = f"scores the same as {reference}"
    level = f"{100 * paired.loss.confidence:.0f} % interval of the loss {between}"
    return f"{said} ({level}; {paired.n} items, {paired.lost} lost, {paired.gained} gained)"


def reasons(
    winner: Row | None, equals: Sequence[Row], rows: Sequence[Row], verdicts: Sequence[Verdict], limits: Limits
) -> tuple[str, ...]:
    """Why this one: what it was chosen among, how sure that is, and what stands in the way of each better one."""
    if winner is None:
        return tuple(_out(v) for v in verdicts)
    standing = {v.format: v for v in verdicts}
    said = [_why(winner, equals, limits), _certainty(winner, standing[winner.format], limits), _ties(winner)]
    said += [_better(row, winner, equals, standing[row.format]) for row in _closer(winner, rows)]
    said += [_mind(winner, mark) for mark in winner.marks if mark.code != "note"]
    return tuple(s for s in said if s)


def runner_up(second: Row | None, reference: str) -> str:
    """The runner-up, or that there is none."""
    if second is None:
        return "There is no runner-up: nothing else fits."
    return f"Runner-up: {called(second)}. {described(second, reference)}"


def without_source(winner: Row | None, other: Row | None, reference: str) -> str:
    """What one would pick when the weights had not come from a quantised file."""
    if other is None:
        return "Starting from unquantised weights, nothing would fit either."
    if winner and other.format == winner.format:
        return f"Starting from unquantised weights, the pick would be the same: {other.format}."
    return f"Starting from unquantised weights, one would pick {other.format}. {described(other, reference)}"


def _file(row: Row) -> str:
    said = f"takes {numbers.size(row.size_bytes)} on disk" if row.size_bytes is not None else "has no file"
    memory = row.value("peak_rss_bytes")
    return f"{said} and {numbers.size(memory)} of memory at its peak (RSS)" if memory is not None else said


def _speed(row: Row) -> str:
    said = []
    for verb, metric in (("decodes", "decode_tokens_per_second"), ("prefills", "prefill_tokens_per_second")):
        cell = row.cells[metric]
        if cell.value is not None:
            between = f" ({numbers.span(cell.interval, numbers.rate)})" if cell.interval else ""
            said.append(f"{verb} {numbers.rate(cell.value)}{between}")
    return f"{' and '.join(said)} tokens/s" if said else ""


def _divergence(row: Row, reference: str) -> str:
    cell = row.cells["kl_divergence"]
    if cell.value is None or row.is_reference:
        return ""
    between = f" ({numbers.span(cell.interval, numbers.nats)})" if cell.interval else ""
    return f"diverges from {reference} by {numbers.nats(cell.value)} nats a token{between}"


def _why(winner: Row, equals: Sequence[Row], limits: Limits) -> str:
    if limits.prefer == "speed":
        return "It decodes fastest of all that fit."
    if limits.prefer == "size":
        return "It is the smallest of all that fit."
    if len(equals) < 2:
        return "Of all that fit it diverges least, and nothing else that fits counts as equally good."
    names = listed([r.format for r in equals])
    return (
        f"{names} count as equally good: on these items their accuracy cannot be told apart from that of "
        f"{equals[0].format}, and none diverges by more than {EQUAL_NATS} nats. "
        f"Among them {_tie_break(winner, equals)}."
    )


def _tie_break(winner: Row, equals: Sequence[Row]) -> str:
    beaten = [r for r in equals if r is not winner and winner.decodes_faster_than(r)]
    if len(beaten) == len(equals) - 1:
        return f"{winner.format} decodes fastest, beyond the intervals"
    if not beaten:
        return f"none decodes faster beyond the intervals, so {winner.format} wins as the smallest file"
    return f"{winner.format} is the smallest file of those that nothing beats in decode speed"


def _certainty(winner: Row, verdict: Verdict, limits: Limits) -> str:
    if limits.max_loss is None or winner.is_reference or winner.loss is None:
        return ""
    limit, between = numbers.points(limits.max_loss), numbers.span(winner.loss.loss, numbers.points)
    if verdict.standing == "certified":
        return f"Certified: the whole interval of its loss, {between}, is within the limit of {limit} points."
    return (
        f"Not certain: the interval of its loss, {between}, holds the limit of {limit} points, so {winner.loss.n} "
        "items cannot decide whether it keeps to it; such formats are ranked by divergence."
    )


def _ties(winner: Row) -> str:
    if not winner.ties:
        return ""
    return f"Its accuracy cannot be told apart from that of {listed(winner.ties)} (at 95 %, all pairs together)."


def _mind(winner: Row, mark: Mark) -> str:
    if mark.code == "fell back" and winner.true_bits_per_weight is not None:
        bits = f"the file really holds {winner.true_bits_per_weight:.2f} bits a weight"
        return f"Mind: its label is only a label; {mark.sentence}, and {bits}."
    return f"Mind: {mark.code}: {mark.sentence}."


def _closer(winner: Row, rows: Sequence[Row]) -> list[Row]:
    """Rows that diverge less than the winner, least first."""
    mine = winner.value("kl_divergence")
    found = [(r.value("kl_divergence"), r) for r in rows if r is not winner]
    closer = [(nats, r) for nats, r in found if nats is not None and mine is not None and nats < mine]
    return [r for _, r in sorted(closer, key=lambda pair: pair[0])]


def _better(row: Row, winner: Row, equals: Sequence[Row], verdict: Verdict) -> str:
    """What stands in the way of a format that is closer to the reference than the winner."""
    if verdict.standing == "out":
        return _out(verdict)
    if not equals:
        return ""
    if row not in equals:
        return f"{row.format} does not count as equally good: its accuracy can be told apart from {equals[0].format}'s."
    speed = row.value("decode_tokens_per_second")
    if winner.decodes_faster_than(row) and speed is not None:
        return f"{row.format} is slower: it decodes {numbers.rate(speed)} tokens/s."
    if row.size_bytes is not None and winner.size_bytes is not None and row.size_bytes > winner.size_bytes:
        return f"{row.format} is larger, {numbers.size(row.size_bytes)}, and not faster beyond the intervals."
    return f"{row.format} is slower than the fastest of them beyond the intervals."


def _out(verdict: Verdict) -> str:
    return f"{verdict.format} is out: {'; '.join(r.sentence for r in verdict.reasons)}."


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def limits(limits: Limits) -> str:
    """The limits in words: 'memory up to 6.40 GB (peak RSS), decode from 8 tokens/s'."""
    said = [
        (limits.max_memory_bytes, "memory up to {} (peak RSS)", numbers.size),
        (limits.max_size_bytes, "files up to {}", numbers.size),
        (limits.min_decode, "decode from {} tokens/s", numbers.rate),
        (limits.min_prefill, "prefill from {} tokens/s", numbers.rate),
        (limits.max_loss, "loss up to {} points", numbers.points),
    ]
    texts = [text.format(form(value)) for value, text, form in said if value is not None]
    return f"{', '.join(texts) or 'no limits'}; {limits.prefer} preferred"
