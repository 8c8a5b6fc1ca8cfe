"""The rounds of measuring speed within a run: whose turn it is is said before its process starts."""

from collections.abc import Sequence

from ..profiles.measuring.rounds import Rounds, Take, _Gathered


class AnnouncedRounds(Rounds):
    """Rounds that are heard of before each process starts, so that whoever draws is done when times are taken."""

    def _round(self, each: _Gathered, number: int) -> None:
        self.hear(f"round {number + 1} of {self._last_round(each.take) + 1}", f"{each.take}: ")
        super()._round(each, number)


class FirstRound(AnnouncedRounds):
    """The first round alone, of what has none yet; the last one then takes all formats of the run in turn.

    So formats that were made first do not get all their figures at another time, on a cooler machine, than the others.
    """

    def run(self, takes: Sequence[Take]) -> None:
        """Measure a first round of each take that the store has none of."""
        for each in [self._begun(take) for take in takes if not self.has(take)]:
            if not each.values:
                self._round(each, 0)
                self._store(each, 0)
