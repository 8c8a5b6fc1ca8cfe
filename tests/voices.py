"""The voices of artifacts, in a child: a test compares what they stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgequant.runtimes.talking.voice import open_voice


def open_voices(job: dict[str, Any]) -> Callable[[dict[str, Any], Callable[[str], None]], Any]:
    """Streams `question["ids"]` through the voice of each of `job["paths"]`."""
    made = {container: open_voice(container, path) for container, path in job["paths"].items()}

    def answer(question: dict[str, Any], hear: Callable[[str], None]) -> dict[str, list[str]]:
        found = {}
        for container, voice in made.items():
            stream = voice.stream()
            found[container] = [*(stream.add(token) for token in question["ids"]), stream.end()]
        return found

    return answer
