"""The rows of a report with their accuracy on some of the items alone: a kind, a difficulty, or a public set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from .. import Error
from ..accuracy.paired import CONFIDENCE, holm, paired_difference, share_interval
from ..profiles.records.measurement import Measurement
from . import numbers
from .parts import DIVISIONS
from .rows import Row
from .table import Report

Outcomes = Mapping[str, float]  # item -> outcome, 0..1


def for_task(report: Report, task: str) -> tuple[Row, ...]:
    """The rows with loss and ties on these items alone; everything else of them stays.

    What cannot be told apart is decided at 95 % over all pairs together, as over all items. `Error` for a name that no
    item has, with those that there are.
    """
    answers = {row.format: _outcomes(_accuracy(report.measurements, row), task) for row in report.rows}
    if not any(answers.values()):
        known = sorted({name for row in report.measurements for name in _names(row)})
        raise Error(
            f"no item that was asked is of {task!r}",
            hint=f"there are: {', '.join(known)}" if known else "no accuracy was measured: edgequant evaluate RUN",
        )
    reference = answers.get(report.context.reference, {})
    corrected = _corrected(answers)
    return tuple(_on(row, answers, reference, corrected, task, report.context.reference) for row in report.rows)


def by_guessing(report: Report, task: str) -> str:
    """A sentence where the reference answers these items no better than by guessing, so that a loss means little."""
    row = next((m for m in report.measurements if _is_accuracy(m) and m.format == report.context.reference), None)
    chances = dict(zip(row.parameters.get("items", ()), row.parameters.get("chances", ()), strict=False)) if row else {}
    known = {item: outcome for item, outcome in _outcomes(row, task).items() if chances.get(item)}
    if len(known) < 2 or not {*known.values()} <= {0, 1}:
        return ""
    right, guessed = share_interval(list(known.values())), sum(chances[item] for item in known) / len(known)
    if right.low > guessed:
        return ""
    share, chance = numbers.share(right.estimate), numbers.share(guessed)
    return (
        f"{report.context.reference} itself has {share} of the choices in {task} right, no more than guessing would "
        f"({chance}), so a loss there says little"
    )


def _on(
    row: Row,
    answers: Mapping[str, Outcomes],
    reference: Outcomes,
    corrected: Mapping[frozenset[str], float],
    task: str,
    name: str,
) -> Row:
    mine = answers[row.format]
    common = [item for item in reference if item in mine]
    ties = tuple(o for o in answers if o != row.format and _tied(corrected, o, row.format))
    if row.is_reference or not common:
        note = row.loss_note if row.is_reference else f"no accuracy was measured in {task}"
        return replace(row, loss=None, loss_note=note, ties=ties, corrected=None)
    loss = paired_difference([reference[i] for i in common], [mine[i] for i in common])
    return replace(row, loss=loss, loss_note="", ties=ties, corrected=corrected[frozenset((name, row.format))])


def _tied(corrected: Mapping[frozenset[str], float], one: str, other: str) -> bool:
    return corrected.get(frozenset((one, other)), 0.0) > 1 - CONFIDENCE


def _corrected(answers: Mapping[str, Outcomes]) -> dict[frozenset[str], float]:
    """Pair of formats that share items -> the p-value of their difference, corrected for the number of pairs."""
    found = {}
    for one, other in combinations(answers, 2):
        common = [item for item in answers[one] if item in answers[other]]
        if common:
            pair = paired_difference([answers[one][i] for i in common], [answers[other][i] for i in common])
            found[frozenset((one, other))] = pair.p_value
    return dict(zip(found, holm(list(found.values())), strict=True))


def _accuracy(rows: Sequence[Measurement], row: Row) -> Measurement | None:
    if row.cells["accuracy"].status != "ok":
        return None
    return next((m for m in rows if _is_accuracy(m) and m.format == row.format), None)


def _is_accuracy(row: Measurement) -> bool:
    return row.metric == "accuracy" and row.status == "ok" and not row.variant


def _outcomes(row: Measurement | None, task: str) -> Outcomes:
    if row is None:
        return {}
    chosen = {item for item, names in _labels(row).items() if task in names}
    items = row.parameters.get("items", ())
    return {item: outcome for item, outcome in zip(items, row.samples, strict=False) if item in chosen}


def _labels(row: Measurement) -> dict[str, set[str]]:
    """item -> everything that it can be called by: its kind, its difficulty, its set."""
    items = row.parameters.get("items", ())
    found: dict[str, set[str]] = {item: set() for item in items}
    for parameter in DIVISIONS.values():
        for item, label in zip(items, row.parameters.get(parameter, ()), strict=False):
            if label:
                found[item].add(label)
    return found


def _names(row: Measurement) -> set[str]:
    return set().union(*_labels(row).values()) if _is_accuracy(row) else set()
