"""A model that echoes, and that dies, fails or refuses repacked kernels where it is told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from edgequant import Error


def open_talk(job: dict[str, Any]) -> Callable[[dict[str, Any], Callable[[str], None]], Any]:
    """As `talk.open_talk`, with no model: an answer is the last question and how many there were."""
    repack = job["settings"]["repack"]

    def answer(question: dict[str, Any], hear: Callable[[str], None]) -> dict[str, Any]:
        if question.get("describe"):
            return {"has_template": True, "n_context": 100}
        said = [message["content"] for message in question["messages"] if message["role"] == "user"]
        word, _, signal_name = said[-1].partition(" ")
        if word == "die" or (word == "repack" and repack):
            os.kill(os.getpid(), getattr(signal, signal_name or "SIGILL"))
            time.sleep(60)
        if word == "fail":
            raise Error("too long")
        return {"text": f"{word} of {len(said)}", "n_prompt": 1, "n_answer": 1, "ended": "end"}

    return answer
