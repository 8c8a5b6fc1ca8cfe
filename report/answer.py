"""What a pick is asked and what it answers."""

from dataclasses import dataclass, fields
from math import isfinite

from .. import Error
from .rows import Mark

PREFERENCES = ("quality", "speed", "size")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file must keep to; None is no limit. Speeds in tokens/s, `max_loss` in percentage points of accuracy.

    `native` takes nothing but what the device itself measured: no predictions, and no figures of a machine that stood
    in for it. `task` names the kind of items that the loss is of, `device` the device that is asked about; both say
    how the rows were made ready (`for_task`, `for_device`), and change no rule.
    """

    max_memory_bytes: float | None = None  # against peak RSS
    max_size_bytes: float | None = None
    min_decode: float | None = None
    min_prefill: float | None = None
    max_loss: float | None = None
    max_divergence: float | None = None  # mean, nats a token
    prefer: str = "quality"
    native: bool = False
    task: str = ""
    device: str = ""

    def __post_init__(self) -> None:
        if self.prefer not in PREFERENCES:
            raise Error(f"unknown preference {self.prefer!r}", hint=f"known: {', '.join(PREFERENCES)}")
        for limit in fields(self):
            value = getattr(self, limit.name)
            if isinstance(value, (int, float)) and not (isfinite(value) and value >= 0):
                raise Error(f"{limit.name} is {value}", hint="limits are numbers of zero or more")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one format stands: "out", or "certified" / "not certain" against max_loss, or "fits" where no loss is asked.

    `reasons` says why it is out; their codes: failed, missing, not eligible, emulated, size, prefill, divergence,
    memory, decode, loss, grid, source.
    """

    format: str
    standing: str
    reasons: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Miss:
    """The format that comes nearest where nothing fits, and the limits that bind it."""

    format: str
    binds: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The pick with its reasons, in words and in names; format names are None where there is none."""

    limits: Limits
    pick: str | None
    runner_up: str | None
    headline: str  # "Ship Q6_K."
    detail: str  # the pick's size, memory, speeds, divergence and loss in one sentence
    reasons: tuple[str, ...]  # why this one; the last of them are the lines of `better_out`
    runner_up_reason: str
    verdicts: tuple[Verdict, ...]
    equals: tuple[str, ...] = ()  # formats that count as equal in what is preferred, the best first
    better_out: tuple[str, ...] = ()  # what would come before the pick and is out, or of which nothing is known
    confidence: str = ""  # how sure this is, in a sentence; empty where nothing is picked
    level: str = ""  # "high", "medium" or "low"
    changes: tuple[str, ...] = ()  # what would change the answer, a sentence a limit
    nearest: Miss | None = None
    without_source: str | None = None  # what one would pick when starting from unquantised weights
    without_source_reason: str = ""  # empty where the checkpoint came from no quantised source

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything that is said, in reading order."""
        said = (self.headline, self.detail, *self.reasons, self.confidence, *self.changes)
        return tuple(s for s in (*said, self.runner_up_reason, self.without_source_reason) if s)

    def verdict(self, name: str) -> Verdict:
        """The verdict on a format."""
        return next(v for v in self.verdicts if v.format == name)
