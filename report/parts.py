"""Loss by part of the items: by kind of task, by difficulty and by public set, corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..accuracy.paired import CONFIDENCE, Interval, Paired, holm, paired_difference
from ..profiles.records.measurement import Measurement

#: what items are divided by -> the list of an accuracy row's parameters that says it of each item
DIVISIONS: Mapping[str, str] = {"kind": "kinds", "difficulty": "difficulties", "set": "sets"}
_ORDER = ("easy", "medium", "hard")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A format's loss on some of the items; `corrected` is the p-value after Holm, over all parts of a division."""

    division: str  # a key of DIVISIONS
    name: str
    paired: Paired
    corrected: float

    @property
    def told_apart(self) -> bool:
        """Whether the format differs from the reference here, whatever else was looked at."""
        return self.corrected < 1 - CONFIDENCE

    @property
    def decline(self) -> Interval | None:
        """The loss in percent of what the reference has right, the reference's own share taken as it is."""
        loss, share = self.paired.loss, self.paired.reference_share
        if not share:
            return None
        return Interval(
            low=loss.low / share, high=loss.high / share, estimate=loss.estimate / share, confidence=loss.confidence
        )


def parts(rows: Mapping[str, Measurement], reference: str) -> dict[str, tuple[Part, ...]]:
    """format -> its parts against the reference, from rows of accuracy; a division with one part alone is left out."""
    found: dict[str, list[Part]] = {name: [] for name in rows}
    if reference not in rows:
        return {}
    for division, parameter in DIVISIONS.items():
        made = [
            (name, part)
            for name, row in rows.items()
            if name != reference
            for part in _divided(rows[reference], row, division, parameter)
        ]
        corrected = holm([part.paired.p_value for _, part in made])
        for (name, part), p_value in zip(made, corrected, strict=True):
            found[name].append(replace(part, corrected=p_value))
    return {name: tuple(each) for name, each in found.items() if each}


def _divided(reference: Measurement, row: Measurement, division: str, parameter: str) -> list[Part]:
    labels = _labels(row, parameter)
    theirs = dict(zip(reference.parameters.get("items", ()), reference.samples, strict=False))
    pairs: dict[str, list[tuple[float, float]]] = {}
    for item, outcome in zip(row.parameters.get("items", ()), row.samples, strict=False):
        if item in theirs and labels.get(item):
            pairs.setdefault(labels[item], []).append((theirs[item], outcome))
    if len(pairs) < 2:
        return []
    return [
        Part(
            division=division,
            name=name,
            paired=paired_difference([before for before, _ in pairs[name]], [after for _, after in pairs[name]]),
            corrected=1.0,
        )
        for name in sorted(pairs, key=lambda name: (_ORDER.index(name) if name in _ORDER else -1, name))
    ]


def _labels(row: Measurement, parameter: str) -> dict[str, str]:
    return dict(zip(row.parameters.get("items", ()), row.parameters.get(parameter, ()), strict=False))


def names(found: Sequence[Part], division: str) -> list[str]:
    """The parts of one division, in their order, each once."""
    return list(dict.fromkeys(part.name for part in found if part.division == division))
