"""Running a session behind the fence: a processor that refuses an instruction costs a retry, not the run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .. import child
from .session import Settings

#: how llama.cpp dies in AMX code on virtual machines that announce AMX and fault on it (both were seen); its repacked
#: kernels use AMX wherever it is announced
_REFUSALS = ("SIGILL", "SIGSEGV")
WITHOUT_REPACK = "llama.cpp's repacked kernels die on this processor (so does AMX on many virtual machines)"


Runner = Callable[..., child.Outcome]  # takes what `child.run` takes


class Fence:
    """Runs jobs that open a session; once leaving out llama.cpp's repacked kernels cured a death, all later jobs do."""

    def __init__(self) -> None:
        self.repack = True

    def run(
        self,
        entry: str,
        job: Mapping[str, Any],
        *,
        settings: Settings,
        deadline_seconds: float | None = None,
        progress: child.Progress | None = None,
        runner: Runner | None = None,
    ) -> tuple[child.Outcome, Settings]:
        """Call `entry` with the job and its settings; returns the outcome and the settings that it was reached with.

        The job names its "container"; only GGUF has kernels to fall back from. `runner` stands in for `child.run`,
        where more than that is to be done to the child.
        """
        gguf = job["container"] == "gguf"
        settings = replace(settings, repack=settings.repack and (self.repack or not gguf))

        def once(settings: Settings) -> child.Outcome:
            full = {**job, "settings": settings.to_json()}
            return (runner or child.run)(entry, full, deadline_seconds=deadline_seconds, progress=progress)

        outcome = once(settings)
        if outcome.status == "crash" and outcome.signal in _REFUSALS and gguf and settings.repack:
            plain = replace(settings, repack=False)
            again = once(plain)
            if again.signal not in _REFUSALS:
                self.repack = False
                return again, plain
        return outcome, settings
