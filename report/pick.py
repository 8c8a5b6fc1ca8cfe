"""Which file to ship: limits laid on what is known of each row, the best of what is left, the runner-up, and why."""

from collections.abc import Sequence

from . import reasons, sentences
from .answer import Answer, Limits, Miss, Verdict
from .bounds import BOUNDS
from .candidates import Candidate
from .changes import changes
from .confidence import confidence
from .judging import Judging
from .rows import Row


def pick(
    rows: Sequence[Row], limits: Limits | None = None, *, judging: Judging | None = None, doubts: Sequence[str] = ()
) -> Answer:
    """Answer which of `rows` to ship under `limits` (none: the best quality).

    Limits come first, then what is preferred, then the tie-break (`ranking.best`). The runner-up is the pick with the
    winner taken away. Where a quantised source is among the rows, nothing larger than it wins on quality, and the
    answer also says what would win without it. `judging` of the same rows saves work where many limits are asked;
    `doubts` are sentences of the caller's that make the answer less sure.
    """
    limits = limits or Limits()
    judging = judging or Judging(rows, native=limits.native)
    verdicts, standing = judging.verdicts(limits), judging.standing(limits)
    winner, equals = judging.best(standing, limits.prefer)
    second, _ = judging.best(standing & ~judging.bit(winner), limits.prefer) if winner else (None, ())
    nearest = None if winner else _nearest(judging.candidates, verdicts, limits)
    out = reasons.better_out(winner, judging.candidates, verdicts, limits.prefer)
    level, sure = _sure(winner, second, equals, limits, verdicts, doubts)
    other = _without_source(judging, limits)
    task, reference = limits.task, judging.reference
    return Answer(
        limits=limits,
        pick=winner.name if winner else None,
        runner_up=second.name if second else None,
        headline=sentences.headline(winner, nearest),
        detail=sentences.described(winner, reference, task) if winner else "",
        reasons=(*_why(winner, equals, judging, limits, verdicts), *_lines(out, verdicts)),
        better_out=out,
        runner_up_reason=sentences.runner_up(second, reference, task) if winner else "",
        verdicts=verdicts,
        equals=tuple(c.name for c in equals),
        confidence=sure,
        level=level,
        changes=changes(judging, limits, winner),
        nearest=nearest,
        without_source=other.name if other else None,
        without_source_reason=(
            "" if judging.source is None else sentences.without_source(winner, other, reference, task)
        ),
    )


def _verdict(name: str, verdicts: Sequence[Verdict]) -> Verdict:
    return next(v for v in verdicts if v.format == name)


def _lines(names: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    return tuple(reasons.out(_verdict(name, verdicts)) for name in names)


def _why(
    winner: Candidate | None, equals: Sequence[Candidate], judging: Judging, limits: Limits, verdicts: Sequence[Verdict]
) -> tuple[str, ...]:
    if winner is None:
        return ()
    standing = [c for c, v in zip(judging.candidates, verdicts, strict=True) if v.standing != "out"]
    return reasons.why(winner, equals, standing, limits, _verdict(winner.name, verdicts))


def _sure(
    winner: Candidate | None,
    second: Candidate | None,
    equals: Sequence[Candidate],
    limits: Limits,
    verdicts: Sequence[Verdict],
    doubts: Sequence[str],
) -> tuple[str, str]:
    if winner is None:
        return "", ""
    return confidence(winner, second, equals, limits, _verdict(winner.name, verdicts), doubts)


def _without_source(judging: Judging, limits: Limits) -> Candidate | None:
    if judging.source is None:
        return None
    return judging.best(judging.standing(limits, source=False), limits.prefer)[0]


def _nearest(found: Sequence[Candidate], verdicts: Sequence[Verdict], limits: Limits) -> Miss | None:
    """Of the rows that break limits and nothing else, the one that breaks fewest and breaks them least."""
    near = []
    for each, verdict in zip(found, verdicts, strict=True):
        broken = [r.code for r in verdict.reasons]
        if not {"failed", "missing", "not eligible", "emulated"} & set(broken):
            near.append((len(broken), sum(_excess(each, limits, code) for code in broken), verdict))
    if not near:
        return None
    *_, verdict = min(near, key=lambda entry: entry[:2])
    said = "; ".join(reason.sentence for reason in verdict.reasons)
    binds = tuple(r.code for r in verdict.reasons)
    return Miss(format=verdict.format, binds=binds, sentence=f"{verdict.format}: {said}")


def _excess(found: Candidate, limits: Limits, code: str) -> float:
    """How far a limit is broken, as a share of it; a bar that no limit can lift counts as one whole limit.

    Of a loss, the share is of one point at least: a limit of none would be broken without end.
    """
    if code == "loss" and limits.max_loss is not None and found.row.loss:
        loss = found.row.loss.loss
        over = loss.low if loss.low > limits.max_loss else loss.estimate
        return (over - limits.max_loss) / max(limits.max_loss, 1.0)
    for key, bound in BOUNDS.items():
        value, limit = bound.of(found).value, getattr(limits, key)
        if bound.code == code and value is not None and limit is not None:
            more, less = (value, limit) if bound.sign > 0 else (limit, value)
            return float(more / max(less, 1e-9) - 1)
    return 1.0
