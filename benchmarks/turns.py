"""One side's turn in a comparison: a process that is asked once, how long it took, and what else used the machine."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import quiet

from edgequant.child import ENVIRONMENT

T = TypeVar("T")
QUIET_SECONDS, PATIENCE_SECONDS = 3.0, 60.0
OTHERS_AT_MOST = 0.05  # of a core, used by other processes meanwhile


@dataclass(frozen=True, kw_only=True)
class Turn(Generic[T]):
    """What came of it; `disturbed` where others used the machine before or meanwhile."""

    value: T
    seconds: float
    disturbed: bool


def take(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> Turn[T]:
    """Do the work, which waits for its processes to end, once the machine has come to rest."""
    is_quiet = quiet.wait(seconds=QUIET_SECONDS, patience=patience)
    began, used, own = time.perf_counter(), quiet.used_seconds(), _own_seconds()
    value = work()
    seconds = time.perf_counter() - began
    others = quiet.used_seconds() - used - (_own_seconds() - own)
    return Turn(value=value, seconds=seconds, disturbed=not is_quiet or others > OTHERS_AT_MOST * seconds)


def _own_seconds() -> float:
    """Of all cores, of this process and of its children that have ended."""
    return sum(os.times()[:4])


def ask(command: Sequence[str], job: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The answer of a process that reads one object of JSON and writes one; ends the program where it failed."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        done = subprocess.run(
            command,
            input=json.dumps(job),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**ENVIRONMENT, **os.environ, **(environment or {})},
            check=False,
        )
        log.seek(0)
        if done.returncode or not done.stdout:
            raise SystemExit(f"{' '.join(command)} failed ({done.returncode}):\n{log.read()[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
