"""How long what is left of a run will take: from the plan, put right by what has been done so far. An estimate."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .plan import Plan, PlannedFormat
from .prediction import lengths

CONVERT, VERIFY, PROFILE, LOOK, EVALUATE = "convert", "verify", "profile", "look", "evaluate"
#: of every child: Python, libraries, loading (seen on 2 cores of 3.6 GHz), and what the check of an artifact takes more
_STARTING_SECONDS = 3.0
_CHECKING_SECONDS = 8.0
_READING = 1e9  # bytes of weights a second that a check compares
_WARM_UPS = 2  # prompts and answers that are computed before and after those that are timed
#: tokens that evaluating computes: the built-in text with its passage, 120 items with their choices, and answers; and
#: those of a first look
_EVALUATED_TOKENS, _LOOKED_AT_TOKENS = 25_000, 5_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step of one format that is still to be done; its seconds as a plan tells them, None where it does not."""

    step: str
    format: str
    seconds: float | None = None


def tasks(plan: Plan, names: Iterable[tuple[str, str]], *, repetitions: int) -> list[Task]:
    """The tasks of these (step, format); a "profile" is one round of so many repetitions."""
    planned = {each.format: each for each in plan.formats}
    return [
        Task(step=step, format=name, seconds=_seconds(step, planned.get(name), plan.context, repetitions))
        for step, name in names
    ]


def _seconds(step: str, planned: PlannedFormat | None, context: int, repetitions: int) -> float | None:
    if planned is None:
        return None
    if step == CONVERT:
        return planned.conversion_seconds
    prefill, decode = planned.prefill_tokens_per_second, planned.decode_tokens_per_second
    if prefill is None:
        return None
    prompt, answer = lengths(context)
    if step == PROFILE:
        once = prompt / prefill + (answer / decode if decode else 0.0)
        return _STARTING_SECONDS + (repetitions + _WARM_UPS) * once
    if step in (EVALUATE, LOOK):
        return _STARTING_SECONDS + (_LOOKED_AT_TOKENS if step == LOOK else _EVALUATED_TOKENS) / prefill
    return _CHECKING_SECONDS + prompt / prefill + planned.tensor_bytes / _READING


def remaining_seconds(left: Sequence[Task], done: Sequence[tuple[Task, float]]) -> float | None:
    """Seconds for the tasks that are left, where those that are done took so long; None where a kind is not known.

    A task that the plan tells takes its share of what its kind took against the plan so far, one that it does not as
    long as others of its kind took on average, or are planned to take.
    """
    took = _by_step(done)
    found = [_expected(task, took.get(task.step, [])) or _usual(task.step, left) for task in left]
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) if len(known) == len(found) else None


def _by_step(done: Sequence[tuple[Task, float]]) -> Mapping[str, list[tuple[Task, float]]]:
    found: dict[str, list[tuple[Task, float]]] = defaultdict(list)
    for task, seconds in done:
        found[task.step].append((task, seconds))
    return found


def _expected(task: Task, alike: Sequence[tuple[Task, float]]) -> float | None:
    told = [(other.seconds, seconds) for other, seconds in alike if other.seconds]
    if task.seconds and told:
        return task.seconds * sum(seconds for _, seconds in told) / sum(planned for planned, _ in told)
    if task.seconds:
        return task.seconds
    return sum(seconds for _, seconds in alike) / len(alike) if alike else None


def _usual(step: str, left: Sequence[Task]) -> float | None:
    planned = [task.seconds for task in left if task.step == step and task.seconds]
    return sum(planned) / len(planned) if planned else None


class Forecast:
    """Follows a run: which task is at work, how long each took, what is left."""

    def __init__(self, agenda: Iterable[Task]) -> None:
        self.left: list[Task] = list(agenda)
        self.done: list[tuple[Task, float]] = []

    def ended(self, step: str, name: str, seconds: float) -> None:
        """One task took so long; one that was not on the agenda counts for others of its kind all the same."""
        task = next(self._of(step, name), Task(step=step, format=name))
        if task in self.left:
            self.left.remove(task)
        self.done.append((task, seconds))

    def dropped(self, name: str) -> None:
        """Nothing more will be done of a format."""
        self.left = [task for task in self.left if task.format != name]

    def remaining_seconds(self, *, under_way: float = 0.0) -> float | None:
        """What is left to do less what the task under way has had, never less than nothing."""
        found = remaining_seconds(self.left, self.done)
        return None if found is None else max(0.0, found - under_way)

    def _of(self, step: str, name: str) -> Iterator[Task]:
        return (task for task in self.left if (task.step, task.format) == (step, name))
