"""The course of a whole run: part by part, so that there is a pick early; each part through every step.

First come the formats that the plan would pick and their neighbours, with what all are compared with; then the
neighbours of what turned out best, while there are some; then all others. Speed is measured in two rounds, of which the
second comes at the end, of all formats in turn. Where evaluating the first part as a whole would take too long to wait
for, every part gets a first look, and the whole follows at the end.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .. import Error, child
from ..profiles.measuring.rounds import Rounds, Take
from ..profiles.planning import forecast
from ..profiles.planning.plan import Plan
from ..profiles.planning.predicted_speeds import speeds
from ..report.rebuild import compare
from . import order
from .checking import Checking
from .evaluating import Evaluating
from .first_look import FirstLook
from .job import Job
from .making import Making
from .outstanding import outstanding
from .speeds import AnnouncedRounds, FirstRound

#: so long a first pick may take; what the plan expects to take longer is looked at before it is measured as a whole
_PATIENCE_SECONDS = 15 * 60.0


@dataclass(kw_only=True)
class Course:
    """One run from its plan to its last measurement; `compared_with` is the reference, once its answers are there."""

    job: Job
    making: Making
    checking: Checking
    plan: Plan
    agenda: list[forecast.Task] = field(init=False)
    compared_with: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """See what is left to do, and whether that wants a first look."""
        source = self.job.checkpoint.quantised_source
        self._order = order.order(self.plan, largest_bytes=source.size_bytes if source else None)
        self._first = tuple(dict.fromkeys([*self._order.next(()), self.making.to_compare_with]))
        left = outstanding(self.making, self.plan)
        expected = forecast.remaining_seconds([task for task in left if task.format in self._first], ())
        self._looks = bool(expected and expected > _PATIENCE_SECONDS)
        looks = [(forecast.LOOK, name) for name in self._first] if self._looks else []
        self.agenda = [*left, *forecast.tasks(self.plan, looks, repetitions=0)]

    def run(self) -> None:
        """Do it; `Error` where no format could be made."""
        for names in self.parts():
            self._take(names)

    def parts(self) -> Iterator[Collection[str]]:
        """The formats, part by part, each as what was measured so far suggests; the last part is said as none: all."""
        names, done = self._first, set[str]()
        while not done.union(names) >= {*self._order.formats}:
            yield names
            done |= {*names}
            names = self._order.next(done, compare(self.job.folder).answer.pick)
        yield ()

    def measure_speeds(self, part: Making, rounds: type[Rounds]) -> None:
        """Measure speed and memory, as far as these rounds go."""

        def hear(number: str, text: str) -> None:
            self.job.listen("profile", number, text)

        def tell(take: Take, outcome: child.Outcome) -> None:
            self.job.tell(take.artifact, outcome)

        takes = [Take(artifact=artifact) for artifact in part.artifacts()]
        rounds(measuring=self.job.measuring, hear=hear, tell=tell).run(takes)
        is_here = self.job.request.device.is_host
        self.job.folder.describe({"predicted": {} if is_here else speeds(self.job.plan(self.job.formats))})

    def _take(self, names: Collection[str]) -> None:
        """Take these formats through every step; none named: all that is left to do."""
        part = self.making.part(names, reference=self.compared_with)
        part.convert()
        if self.job.request.verify:
            self.checking.verify()
        if not names:
            self.making.check_made()
            self.making.release(compares=True)
        self.measure_speeds(part, FirstRound if names else AnnouncedRounds)
        self._evaluate((FirstLook if names and self._looks else Evaluating)(job=self.job, making=part))

    def _evaluate(self, evaluating: Evaluating) -> None:
        """Measure quality; where that fails, speeds and sizes are there all the same."""
        try:
            evaluating.evaluate()
            self.compared_with = self.job.folder.open().get("reference", "")
        except Error as error:
            self.job.listen("failed", "", str(error))
            self.job.folder.describe({"not_evaluated": str(error)})
