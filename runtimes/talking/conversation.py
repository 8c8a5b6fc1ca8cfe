"""A conversation as its owner sees it: what was said, and a child with the model that may die and be started again."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from ... import Error, child
from ..fence import WITHOUT_REPACK
from ..session import Settings, runtime_name
from .sampling import Sampling

_ENTRY = "edgequant.runtimes.talking.talk:open_talk"
_REFUSALS = ("SIGILL", "SIGSEGV")  # how repacked kernels die: see `fence`


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; lengths in tokens. `ended`: by "end", "length", "context" or "stop" (see `Talk.answer`)."""

    text: str
    n_prompt: int
    n_answer: int
    ended: str


class Died(Error):
    """The child with the model is gone; the next question starts another."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is talked to, and how its engine is to run."""

    container: str
    path: str
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How it is to answer; at most `max_tokens` each time, None for as many as the context holds."""

    sampling: Sampling
    system: str = ""
    max_tokens: int | None = None
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """What every question says of it."""
        return {"sampling": self.sampling.to_json(), "max_tokens": self.max_tokens, "seed": self.seed}


class Conversation:
    """What was said so far. A model without a chat template continues each text by itself.

    `warn` is told what had to be done otherwise than asked. The model is loaded by the first question.
    """

    def __init__(self, model: Model, manner: Manner, *, warn: Callable[[str], None]) -> None:
        self._model, self._manner, self._warn = model, manner, warn
        self._child: child.Lasting | None = None
        self._described: Mapping[str, Any] = {}
        self.messages: list[dict[str, str]] = []
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what was said."""
        self.messages = [{"role": "system", "content": self._manner.system}] if self._manner.system else []

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template; loads it."""
        self._loaded()
        return bool(self._described["has_template"])

    def ask(self, text: str, *, hear: Callable[[str], None]) -> Answer:
        """Put one question; what is said on both sides is kept, unless this raises.

        Ctrl-C while it is answered stops the answer, a second one raises `KeyboardInterrupt`. `Error` for what the
        template refuses and what does not fit the context, `Died` where the engine took its process with it.
        """
        said = [*self.messages, {"role": "user", "content": text}]
        content = {"messages": said} if self.has_template else {"text": text}
        answer = Answer(**self._answered({**content, **self._manner.to_json()}, hear=hear))
        if self.has_template:
            self.messages = [*said, {"role": "assistant", "content": answer.text}]
        return answer

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.close()
        self._child = None

    def _answered(self, question: Mapping[str, Any], *, hear: Callable[[str], None]) -> dict[str, Any]:
        outcome = self._try(question, hear)
        if self._may_try_without_repack(outcome):
            self.close()
            self._warn(f"{WITHOUT_REPACK}: left out")
            self._model = replace(self._model, settings=replace(self._model.settings, repack=False))
            outcome = self._try(question, hear)
        return self._value(outcome)

    def _may_try_without_repack(self, outcome: child.Outcome) -> bool:
        repacks = self._model.container == "gguf" and self._model.settings.repack
        return outcome.signal in _REFUSALS and repacks

    def _try(self, question: Mapping[str, Any], hear: Callable[[str], None]) -> child.Outcome:
        held = self._loaded()
        with _interrupts_go_to(held):
            return held.ask(question, progress=hear)

    def _loaded(self) -> child.Lasting:
        """The child with the model, started where there is none."""
        if self._child is None:
            self._child = child.Lasting(_ENTRY)
            model = self._model
            job = {"container": model.container, "path": model.path, "settings": model.settings.to_json()}
            self._value(self._child.ask(job), loading=True)
            self._described = self._value(self._child.ask({"describe": True}), loading=True)
        return self._child

    def _value(self, outcome: child.Outcome, *, loading: bool = False) -> dict[str, Any]:
        """What an outcome holds; `Error` for one that is an error, `Died` for one that ended the child."""
        if outcome.status == "ok":
            value: dict[str, Any] = outcome.value or {}
            return value
        if loading or outcome.status != "error":
            self.close()
        if outcome.status == "error":
            raise Error(outcome.note, hint=outcome.hint)
        raise Died(_epitaph(outcome, runtime_name(self._model.container)))


def _epitaph(outcome: child.Outcome, engine: str) -> str:
    if outcome.signal == "SIGALRM":
        return "the chat template did not come to an end, and was stopped with the model"
    return f"{engine} {outcome.note}" if outcome.signal else f"{engine}: {outcome.note}"


@contextmanager
def _interrupts_go_to(held: child.Lasting) -> Iterator[None]:
    """The first Ctrl-C becomes the child's, later ones end the wait; only in the main thread, which gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    struck: list[int] = []

    def strike(number: int, frame: FrameType | None) -> None:
        if struck:
            raise KeyboardInterrupt
        struck.append(number)
        held.interrupt()

    before = signal.signal(signal.SIGINT, strike)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
