"""Each family of kernels that artifacts need, tried on a small matrix in a child of its own.

A processor that refuses an instruction ends that child and nothing else; a wrong result is told from a right one by
numpy's on the same weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import child
from ...runtimes.session import runtime_name
from .. import kernels
from .trial_model import FILE_TYPES, FLOATS, FOLDER

RIGHT, WRONG, DIED, FAILED = "right", "wrong", "died", "failed"
REPACKED, PLAIN = "repacked", "plain"
_LLAMACPP, _ORT = "edgequant.profiles.doctor.trial_llamacpp", "edgequant.profiles.doctor.trial_ort"
_MAKES = "edgequant.profiles.doctor.trial_model:make"
DEADLINE_SECONDS = 120.0  # for one child; a Pi Zero 2 W takes seconds, an emulated one a minute
_CHILD_BYTES = 200 * 2**20  # seen: 90 to 130 MB


@dataclass(frozen=True, kw_only=True)
class Family:
    """Kernels of one kind: `entry` runs in a child with `job` and says whether they are right."""

    container: str  # "gguf" | "onnx"
    name: str
    entry: str
    job: Mapping[str, Any] = field(default_factory=dict)
    way: str = ""  # of llama.cpp: REPACKED, where weights may be laid out anew, or PLAIN

    @property
    def engine(self) -> str:
        """The engine that has them."""
        return runtime_name(self.container)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of one family: a verdict, what was said, the signal of a death, and the error where there is one."""

    engine: str
    family: str
    way: str
    verdict: str
    said: str
    signal: str = ""
    error: float | None = None
    repacked: bool | None = None  # whether llama.cpp did lay the weights out anew
    seconds: float = 0.0


def _gguf(name: str) -> list[Family]:
    entry = f"{_LLAMACPP}:family"
    ways = ((REPACKED, True), (PLAIN, False))
    return [
        Family(container="gguf", name=name, entry=entry, job={"type": name, "repack": on}, way=way) for way, on in ways
    ]


def _onnx(name: str, function: str, **job: Any) -> Family:
    return Family(container="onnx", name=name, entry=f"{_ORT}:{function}", job=job)


#: what is tried, in the order in which it is shown; the place to add a family
FAMILIES: tuple[Family, ...] = (
    *(family for name in (FLOATS, *FILE_TYPES) for family in _gguf(name)),
    _onnx("MatMulNBits, 8 bits", "product", format="onnx-int8"),
    _onnx("MatMulNBits, 4 bits", "product", format="onnx-int4"),
    _onnx("GatherBlockQuantized", "look_up", format="onnx-int8"),
    _onnx("MatMulInteger, u8 by s8", "integers"),
    _onnx("MatMulIntegerToFloat", "product", format="onnx-w8a8"),
    _onnx("GroupQueryAttention", "attention"),
)


def tried(folder: Path, *, isa: Sequence[str], at_once: int, progress: child.Progress) -> list[Trial]:
    """Make the small model in `folder` and try every family, up to `at_once` children at a time.

    `isa` decides the options that the ONNX formats have on this processor (see `kernels.suited`).
    """
    made = child.run(_MAKES, {"folder": str(folder)}, deadline_seconds=DEADLINE_SECONDS)
    paths = made.value if made.status == "ok" else {}
    options = kernels.suited(isa, isa)

    def job(family: Family) -> dict[str, Any]:
        found = dict(family.job)
        if family.container == "gguf":
            return {**found, "path": paths.get(found["type"], "")}
        return {**found, "checkpoint": str(folder / FOLDER), "options": options}

    def one(family: Family) -> Trial:
        progress(f"tries {family.engine}: {family.name} {family.way}".strip())
        if family.container == "gguf" and made.status != "ok":
            return _named(family, made, "llama.cpp could not make the model to try it on: ")
        return _trial(family, job(family))

    return _in_parallel(one, FAMILIES, at_once)


def children_at_once(threads: int, usable_bytes: int) -> int:
    """How many children the processor and the memory hold beside each other."""
    return max(1, min(threads, usable_bytes // (2 * _CHILD_BYTES)))


def _in_parallel(one: Callable[[Family], Trial], families: Iterable[Family], at_once: int) -> list[Trial]:
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        return list(pool.map(one, families))


def _trial(family: Family, job: Mapping[str, Any]) -> Trial:
    outcome = child.run(family.entry, job, deadline_seconds=DEADLINE_SECONDS)
    if outcome.status != "ok":
        return _named(family, outcome)
    found = outcome.value
    return Trial(
        engine=family.engine,
        family=family.name,
        way=family.way,
        verdict=RIGHT if found["is_right"] else WRONG,
        said=found["said"],
        error=found["error"] if found["error"] < float("inf") else None,
        repacked=found.get("repacked"),
        seconds=outcome.seconds,
    )


def _named(family: Family, outcome: child.Outcome, why: str = "") -> Trial:
    """A family whose child gave no answer: died of a signal, or failed in another way."""
    return Trial(
        engine=family.engine,
        family=family.name,
        way=family.way,
        verdict=DIED if outcome.signal else FAILED,
        said=why + outcome.note,
        signal=outcome.signal,
        seconds=outcome.seconds,
    )


def repack_setting(trials: Iterable[Trial]) -> bool | None:
    """Whether llama.cpp may lay weights out anew here: not where a family is right without that alone.

    None where no family of llama.cpp is right in any way.
    """
    ways: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        if trial.way:
            ways.setdefault(trial.family, {})[trial.way] = trial
    right = [{way for way, trial in each.items() if trial.verdict == RIGHT} for each in ways.values()]
    if not any(right):
        return None
    return not any(each == {PLAIN} for each in right)


def runs(trials: Iterable[Trial], engine: str) -> bool:
    """Whether any family of an engine is right."""
    return any(trial.engine == engine and trial.verdict == RIGHT for trial in trials)
