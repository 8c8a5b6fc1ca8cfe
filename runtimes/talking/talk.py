"""The side of a conversation that holds the model: a question in, an answer out, piece by piece. Behind the fence."""

import random
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import Error
from ..session import Session, Settings, n_shared, open_session
from .sampling import Sampling, choose
from .voice import Voice, open_voice, written

if TYPE_CHECKING:
    from ..session import Logits

_READ_AT_ONCE = 256  # tokens of a prompt between two looks at whether it is to be stopped

Hear = Callable[[str], None]


def open_talk(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Hear], dict[str, Any]]:
    """Load `job["path"]` of `job["container"]` with `job["settings"]`; returns what `Talk.answer` is, for `Lasting`."""
    settings = Settings(**job["settings"])
    session = open_session(job["container"], job["path"], settings)
    talk = Talk(session, open_voice(job["container"], job["path"]), n_context=settings.context)
    signal.signal(signal.SIGINT, lambda number, frame: talk.stop())

    def answer(question: Mapping[str, Any], hear: Hear) -> dict[str, Any]:
        return talk.describe() if question.get("describe") else talk.answer(question, hear)

    return answer


class Talk:
    """One session and its voice; what two questions share stays in the key/value cache."""

    def __init__(self, session: Session, voice: Voice, *, n_context: int) -> None:
        self._session, self._voice, self._n_context = session, voice, n_context
        self._is_stopped = False

    def stop(self) -> None:
        """End the answer under way after the token that is being computed."""
        self._is_stopped = True

    def describe(self) -> dict[str, Any]:
        """Whether there is a chat template, and how many tokens the context holds."""
        return {"has_template": self._voice.template is not None, "n_context": self._n_context}

    def answer(self, question: Mapping[str, Any], hear: Hear) -> dict[str, Any]:
        """Answer "messages" by the template, or continue "text"; `hear` gets the text as it is written.

        Returns "text", "n_prompt" and "n_answer" in tokens, and "ended": by "end" (the model's own), "length"
        (`max_tokens`), "context" (it is full) or "stop". `Error` where the question does not fit the context.
        """
        self._is_stopped = False
        ids = self._ids(question)
        if len(ids) >= self._n_context:
            raise Error(
                f"the context is full: the conversation takes {len(ids):,} tokens of {self._n_context:,}",
                hint="begin a new conversation, or take a larger --context",
            )
        logits = self._read(ids)
        answer, text, ended = self._write(logits, question, hear)
        return {"text": text, "n_prompt": len(ids), "n_answer": len(answer), "ended": ended}

    def _ids(self, question: Mapping[str, Any]) -> list[int]:
        if "messages" in question:
            return self._voice.encode(written(self._voice, question["messages"]))
        ids = [*self._voice.begin(), *self._voice.encode(question["text"])]
        if not ids:
            raise Error("there is nothing to continue", hint="this model has no chat template: write the beginning")
        return ids

    def _read(self, ids: Sequence[int]) -> "Logits | None":
        """Logits after the prompt; None where it was stopped. What the cache holds of it is not computed again."""
        session = self._session
        session.rewind(n_shared(session.tokens, ids[:-1]))
        logits = None
        while len(session.tokens) < len(ids):
            if self._is_stopped:
                return None
            done = len(session.tokens)
            logits = session.evaluate(ids[done : done + _READ_AT_ONCE], logits="last")
        return logits

    def _write(self, logits: "Logits | None", question: Mapping[str, Any], hear: Hear) -> tuple[list[int], str, str]:
        """The answer's tokens and text, and what ended it."""
        sampling, most = Sampling(**question["sampling"]), question["max_tokens"]
        chance = random.Random(question["seed"])
        stream, answer, texts, ended = self._voice.stream(), list[int](), list[str](), ""
        while not ended:
            if logits is None or self._is_stopped:
                ended = "stop"
                break
            token = choose(logits, self._session.tokens, sampling, chance.random())
            if self._voice.ends(token):
                ended = "end"
                break
            answer.append(token)
            texts.append(stream.add(token))
            if texts[-1]:
                hear(texts[-1])
            ended = self._full(len(answer), most)
            logits = None if ended else self._session.evaluate([token], logits="last")
        texts.append(stream.end())
        if texts[-1]:
            hear(texts[-1])
        return answer, "".join(texts), ended

    def _full(self, n_answer: int, most: int | None) -> str:
        if n_answer == most:
            return "length"
        return "context" if len(self._session.tokens) >= self._n_context else ""
