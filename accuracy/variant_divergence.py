"""How far an artifact run in another way (cache type, flash attention) lies from the same artifact run plainly."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..runtimes.session import Settings, open_session
from .preparation import read_prepared
from .spans import compared, computed, mean, spans

N_WINDOWS = 4  # some 1,900 positions


def measure(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Compare in this process: "samples" of kl_divergence and same_top_token, one a window.

    The job: container, path, settings (the variant's) and prepared (the file that `preparation` wrote). One session at
    a time: two would need twice the memory.
    """
    wanted = spans({"windows": read_prepared(Path(job["prepared"]))["windows"][:N_WINDOWS]})
    settings = Settings(**job["settings"])
    session = open_session(job["container"], job["path"], replace(settings, cache_type="f16", flash_attention=None))
    reference, _ = computed(wanted, session, progress)
    session.close()
    session = open_session(job["container"], job["path"], settings)
    found = []
    for number, span in enumerate(wanted, 1):
        progress(f"window {number} of {len(wanted)}")
        found.append(compared(span, session, reference))
    metrics = ("kl_divergence", "same_top_token")
    return {"samples": {metric: [mean(scores[metric]) for scores in found] for metric in metrics}}
