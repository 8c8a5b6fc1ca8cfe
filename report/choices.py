"""The answers behind the page's controls: what `pick` says at every stop of memory, decode speed, loss and preference.

`choices(report, limits).to_json()` is what the page embeds. It holds no rule, only answers, and how to look them up:

    {
      "formats": ["F16", "Q8_0", ...],                 formats are named by their index in this list, everywhere below
      "texts": ["Ship Q6_K.", ...],                    every sentence once, named by its index, everywhere below
      "always_out": [[format, code, text], ...],       out whatever the controls say: failed, no file, other limits
      "sliders": [                                     three, in this order
        {"key": "max_memory_bytes", "title": "Memory", "unit": "", "stops": [...]},
        {"key": "min_decode", "title": "Decode", "unit": "tokens/s", "stops": [...]},
        {"key": "max_loss", "title": "Loss of accuracy", "unit": "points", "stops": [...]}
      ],
      "preferences": [{"key": "quality", "title": "Quality", "out": [[format, code, text], ...]}, ...],
      "answers": [...],                                each distinct one once
      "index": [0, 0, 3, ...],                         into "answers", one for each combination
      "start": [i, j, k, p]                            the stops that put in and out what the report's own limits do
    }

A stop is {"value": 269000000.0, "text": "269 MB", "out": [[format, code, text], ...], "certified": [format, ...]}: the
limit that was used, exactly what its text says, and the formats that it puts out. Stops run from the tightest to no
limit, whose value is null and whose text is "no limit". `certified` is filled for the loss alone.

With stops i, j, k of the three sliders and preference p, the answer is

    answers[index[((i * n_decode + j) * n_loss + k) * n_preferences + p]]

    {"pick": format or null, "runner_up": format or null,
     "headline": text, "detail": text (of "" where nothing is picked),
     "reasons": [text, ...], "better_out": [format, ...],
     "runner_up_reason": text, "confidence": text, "level": "high" | "medium" | "low" | "",
     "changes": [text, ...], "without_source": text (of "" where there was no quantised source),
     "equals": [format, ...]}

A format is out where `always_out`, one of the three stops or the preference says so. Its reasons are the texts found
there, in this order and each once, and the line that says so is `${name} is out: ${texts.join("; ")}.`. Such lines of
`better_out` follow the reasons. A format that is not out "fits" where the loss has no limit, else it is "certified" or
"not certain". Everything that `Answer.sentences` says is then, in reading order: headline, detail, reasons, lines of
`better_out`, confidence, changes, runner_up_reason, without_source; empty texts are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .answer import Limits
from .rows import Row
from .table import Report


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is said above, field by field."""

    formats: tuple[str, ...]
    texts: tuple[str, ...]
    always_out: tuple[tuple[int, str, int], ...]
    sliders: tuple[Mapping[str, Any], ...]
    preferences: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Any], ...]
    index: tuple[int, ...]
    start: tuple[int, int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as above."""
        raise NotImplementedError


def choices(found: Report | Sequence[Row], limits: Limits | None = None) -> Choices:
    """The answers for every combination of stops.

    `limits` (a report's own, unless given) stand where the controls say nothing: size, prefill and the rest are kept,
    and `start` is where the controls stand for them.
    """
    raise NotImplementedError
