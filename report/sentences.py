"""A format and the limits as a person would say them: numbers with their intervals, and what they rest on."""

from collections.abc import Sequence

from . import numbers
from .answer import Limits, Miss
from .candidates import ELSEWHERE, PREDICTED, Candidate, Figure
from .rows import Row


def headline(winner: Candidate | None, nearest: Miss | None) -> str:
    """The first sentence: what to ship, or that nothing fits and what comes nearest."""
    if winner:
        return f"Ship {called(winner.row)}."
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


def described(found: Candidate, reference: str, task: str = "") -> str:
    """A format in one sentence: size, memory, speeds, divergence, loss; what is not known is left out."""
    said = [_file(found), _speed(found), _divergence(found, reference), loss(found.row, reference, task)]
    said = [each for each in said if each]
    return f"It {', '.join(said[:-1])}{', and ' if len(said) > 1 else ''}{said[-1]}."


def loss(row: Row, reference: str, task: str = "") -> str:
    """The paired loss with interval, confidence, flips and items."""
    if row.is_reference:
        return "is the reference that the others are compared with"
    if row.loss is None:
        return ""
    paired, estimate = row.loss, row.loss.loss.estimate
    between, where = numbers.span(paired.loss, numbers.points), f" in {task}" if task else ""
    if estimate > 0:
        said = f"loses {numbers.points(estimate)} points of accuracy{where} to {reference}"
    elif estimate < 0:
        said = f"scores {numbers.points(-estimate)} points above {reference}{where}"
    else:
        said = f"scores the same as {reference}{where}"
    level = f"{100 * paired.loss.confidence:.0f} % interval of the loss {between}"
    return f"{said} ({level}; {paired.n} items, {paired.lost} lost, {paired.gained} gained)"


def runner_up(second: Candidate | None, reference: str, task: str = "") -> str:
    """The runner-up, or that there is none."""
    if second is None:
        return "There is no runner-up: nothing else fits."
    return f"Runner-up: {called(second.row)}. {described(second, reference, task)}"


def without_source(winner: Candidate | None, other: Candidate | None, reference: str, task: str = "") -> str:
    """What one would pick when the weights had not come from a quantised file."""
    if other is None:
        return "Starting from unquantised weights, nothing would fit either."
    if winner and other is winner:
        return f"Starting from unquantised weights, the pick would be the same: {other.name}."
    return f"Starting from unquantised weights, one would pick {other.name}. {described(other, reference, task)}"


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
        (limits.max_divergence, "divergence up to {} nats", numbers.nats),
    ]
    texts = [text.format(form(value)) for value, text, form in said if value is not None]
    texts += [f"accuracy in {limits.task} alone"] if limits.task else []
    texts += ["figures of the device itself alone"] if limits.native else []
    on = f"on {limits.device}: " if limits.device else ""
    return f"{on}{', '.join(texts) or 'no limits'}; {limits.prefer} preferred"


def _file(found: Candidate) -> str:
    size = found.row.size_bytes
    said = f"takes {numbers.size(size)} on disk" if size is not None else "has no file"
    memory = found.memory
    if memory.value is None:
        return said
    if memory.basis == PREDICTED:
        return f"{said} and, as predicted, {numbers.size(memory.value)} of memory at its peak"
    elsewhere = ", on another machine" if memory.basis == ELSEWHERE else ""
    return f"{said} and {numbers.size(memory.value)} of memory at its peak (RSS{elsewhere})"


def _speed(found: Candidate) -> str:
    pairs = [("decodes", found.decode), ("prefills", found.prefill)]
    said = [f"{verb} {_rate(figure)}" for verb, figure in pairs if figure.value is not None]
    return f"{' and '.join(said)} tokens/s" if said else ""


def _rate(figure: Figure) -> str:
    between = [numbers.span(figure.interval, numbers.rate)] if figure.interval else []
    between += ["predicted"] if figure.basis == PREDICTED else []
    said = numbers.rate(figure.value or 0)
    return f"{said} ({', '.join(between)})" if between else said


def _divergence(found: Candidate, reference: str) -> str:
    figure = found.divergence
    if figure.value is None or found.row.is_reference:
        return ""
    between = f" ({numbers.span(figure.interval, numbers.nats)})" if figure.interval else ""
    return f"diverges from {reference} by {numbers.nats(figure.value)} nats a token{between}"
