"""What this machine can do: processor, engines, every family of kernels tried, what surrounds them, and what ails."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ... import child
from ...runtimes.session import RUNTIMES, runtime_name
from ..machine import host, surroundings
from ..machine.surroundings import Surroundings
from . import ailments, kernel_trials
from .ailments import Ailment
from .kernel_trials import Trial

_DESCRIBES = {
    "gguf": "edgequant.profiles.doctor.trial_llamacpp:describe",
    "onnx": "edgequant.profiles.doctor.trial_ort:describe",
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine as it is installed; `kernels` are the instruction sets that its build uses here, where it tells."""

    name: str
    version: str = ""
    build: tuple[str, ...] = ()
    kernels: tuple[str, ...] | None = None
    runs: bool = False  # whether it loads and computes anything right
    note: str = ""  # what kept it from loading


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that was found; `repack` says whether llama.cpp runs with its repacked kernels here."""

    cpu: str
    isa: tuple[str, ...]
    surroundings: Surroundings
    engines: tuple[Engine, ...]
    trials: tuple[Trial, ...]
    repack: bool | None
    ailments: tuple[Ailment, ...]
    seconds: float

    @property
    def runs(self) -> bool:
        """Whether every engine can run."""
        return all(engine.runs for engine in self.engines)

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON values."""
        return {"runs": self.runs, **asdict(self)}


def examine(*, folder: Path, progress: child.Progress) -> Diagnosis:
    """Examine this machine, for runs that would be written to `folder`; some seconds, and nothing is left behind."""
    began = time.monotonic()
    here = host.machine()
    around = surroundings.look(folder=folder, temporary=Path(tempfile.gettempdir()))
    progress("asks the engines")
    described = {container: child.run(entry, {}, deadline_seconds=120.0) for container, entry in _DESCRIBES.items()}
    at_once = kernel_trials.children_at_once(here.threads, here.usable_bytes)
    with tempfile.TemporaryDirectory(prefix="edgequant-doctor-") as name:
        trials = kernel_trials.tried(Path(name), isa=here.isa, at_once=at_once, progress=progress)
    engines = tuple(_engine(container, described[container], trials) for container in RUNTIMES)
    repack = kernel_trials.repack_setting(trials)
    of_engines = [
        *ailments.of_engines({engine.name: engine.note for engine in engines}, around),
        *ailments.of_kernels(trials, isa=here.isa),
        *ailments.of_build(_kernels(engines), here.isa),
    ]
    return Diagnosis(
        cpu=here.cpu,
        isa=here.isa,
        surroundings=around,
        engines=engines,
        trials=tuple(trials),
        repack=repack,
        ailments=(
            *of_engines,
            *ailments.of_compiling(of_engines, around),
            *ailments.of_surroundings(around, isa=here.isa),
        ),
        seconds=time.monotonic() - began,
    )


def _engine(container: str, outcome: child.Outcome, trials: Sequence[Trial]) -> Engine:
    name = runtime_name(container)
    if outcome.status != "ok":
        return Engine(name=name, note=outcome.note)
    said = outcome.value
    kernels = said.get("kernels")
    return Engine(
        name=name,
        version=said["version"],
        build=tuple(said["build"]),
        kernels=None if kernels is None else tuple(kernels),
        runs=kernel_trials.runs(trials, name),
    )


def _kernels(engines: Sequence[Engine]) -> tuple[str, ...] | None:
    """llama.cpp's instruction sets; None where it did not tell."""
    return next((engine.kernels for engine in engines if engine.kernels is not None), None)
