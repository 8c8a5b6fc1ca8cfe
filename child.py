"""The fence: run one function of ours in a fresh process, JSON in, JSON out.

llama.cpp, ONNX Runtime and torch can abort, run out of memory or execute an instruction that the processor refuses;
behind the fence that ends a child and becomes an `Outcome`, never the end of the caller.

The child answers in lines of JSON on its standard output, each with one key: "progress", "result", "error" (an
`Error`, with its hint) or "exception" (a bug, with its traceback). Whatever native code prints goes to a log.

A function that returns a function stays (`Lasting`): each further line of input is a call of what it returned.
"""

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from edgequant import Error

Progress = Callable[[str], None]
LOG_TAIL_CHARACTERS = 4000
#: what libraries would otherwise do without being asked: reach for a network, print bars, start threads
ENVIRONMENT = {
    # libgomp's threads spin while they wait. As long as it would have them, llama.cpp on a machine that is busy
    # otherwise was 5 to 7 times slower than so; on a quiet one it made no difference (2 cores, 135M parameters, Q8_0).
    "GOMP_SPINCOUNT": "20000",
    # ggml would start a debugger where it aborts: 20 seconds, and pages that bury what it had to say
    "GGML_NO_BACKTRACE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
#: as C++, ONNX Runtime, llama.cpp, torch, the C library (ENOMEM), OpenBLAS, Python and Rust say it
_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "ailed to allocate",
    "insufficient memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "emory allocation still failed",
    "Out of memory",
    "MemoryError",
    "memory allocation of",
    "mem_buffer != NULL",  # an assertion of ggml's
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a child ended; `value` is what the function returned, `log` the end of what it printed."""

    status: str  # "ok" | "error" | "oom" | "timeout" | "crash"
    value: Any = None
    note: str = ""
    hint: str = ""
    kind: str = ""  # the class of an `Error`, for callers that go on from a certain one
    signal: str = ""  # "SIGILL", where a signal ended it
    seconds: float = 0.0
    log: str = ""

    def unwrap(self) -> Any:
        """The value, or `Error` with what went wrong."""
        if self.status != "ok":
            raise Error(self.note, hint=self.hint)
        return self.value


def run(
    entry: str,
    job: Mapping[str, Any],
    *,
    deadline_seconds: float | None = None,
    progress: Progress | None = None,
    started: Callable[[int], None] | None = None,
) -> Outcome:
    """Call `entry` ("package.module:function") with `job` as its only argument in a fresh process.

    The parent sleeps until the child speaks or ends. A function with a second parameter gets a callback for progress.
    `started` is called with the child's process id before the child gets its job, so that limits can be laid on it.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgequant.child", entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**ENVIRONMENT, **os.environ},
        )
        try:
            if started:
                started(process.pid)
            messages, timed_out = _converse(process, job, deadline_seconds, progress)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            _close(process)
        outcome = _classify(messages, process.returncode, timed_out=timed_out, log=_tail(log), entry=entry)
    if outcome.status != "ok" and outcome.log:
        logging.getLogger(__name__).info("%s: %s\n%s", entry, outcome.note, outcome.log)
    return Outcome(**{**vars(outcome), "seconds": time.monotonic() - began})


class Lasting:
    """A child that holds what it made and answers one question after another: a loaded model, most of all.

    `entry` names a function that takes the first question and returns `answer(question, progress)`, which takes all
    others. The child leads a session of its own: Ctrl-C at the terminal reaches the parent alone, which may pass it on.
    """

    def __init__(self, entry: str) -> None:
        self._entry = entry
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgequant.child", entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**ENVIRONMENT, **os.environ},
            start_new_session=True,
        )

    def ask(self, question: Mapping[str, Any], *, progress: Progress | None = None) -> Outcome:
        """Put one question and wait for the answer. After "ok" and "error" it takes another, else it is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it died before: its exit code says of what
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        for message in map(_parse, self._process.stdout):
            if progress and "progress" in message:
                progress(message["progress"])
            elif message.keys() & {"result", "error"}:
                return _classify(message, 0, timed_out=False, log="", entry=self._entry)
            elif "exception" in message:
                return self._death(message)
        return self._death({})

    def _death(self, last: Mapping[str, Any]) -> Outcome:
        code = self._process.wait()
        return _classify(last, code, timed_out=False, log=_tail(self._log), entry=self._entry)

    def interrupt(self) -> None:
        """Send SIGINT, which the child's function may take as a wish to stop the answer under way."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        _close(self._process)
        self._log.close()


def _converse(
    process: subprocess.Popen[str], job: Mapping[str, Any], deadline_seconds: float | None, progress: Progress | None
) -> tuple[dict[str, Any], bool]:
    """Hand over the job and listen to the end; the last message of each kind, and whether the deadline struck."""
    assert process.stdin is not None and process.stdout is not None
    struck = threading.Event()

    def strike() -> None:
        struck.set()
        process.kill()

    timer = threading.Timer(deadline_seconds, strike) if deadline_seconds is not None else None
    if timer:
        timer.start()
    messages: dict[str, Any] = {}
    try:
        _send(process.stdin, job)
        for line in process.stdout:
            message = _parse(line)
            if progress and "progress" in message:
                progress(message["progress"])
            messages.update(message)
        process.wait()
    finally:
        if timer:
            timer.cancel()
    return messages, struck.is_set()


def _send(stream: IO[str], job: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError), stream:  # the child died before it read its job: its exit code says of what
        json.dump(job, stream)


def _parse(line: str) -> dict[str, Any]:
    """One message; the half line of a child that was killed while writing counts as none."""
    try:
        message = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return message if isinstance(message, dict) else {}


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def _tail(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-LOG_TAIL_CHARACTERS:]


def _classify(messages: Mapping[str, Any], code: int, *, timed_out: bool, log: str, entry: str) -> Outcome:
    """Name what happened from the last messages, the exit code and the log."""
    if timed_out:
        return Outcome(status="timeout", note=f"{entry} did not finish in its time", log=log)
    if "result" in messages:
        return Outcome(status="ok", value=messages["result"], log=log)
    if "error" in messages:
        said = messages["error"]
        status = "oom" if _is_out_of_memory(said["message"]) else "error"
        return Outcome(status=status, note=said["message"], hint=said["hint"], kind=said["kind"], log=log)
    if "exception" in messages:
        kind = messages["exception"]["kind"]
        is_oom = kind == "MemoryError" or _is_out_of_memory(messages["exception"]["message"])
        note = f"{kind}: {messages['exception']['message']}".strip().rstrip(":")
        note = f"out of memory ({note})" if is_oom else note
        status = "oom" if is_oom else "crash"
        return Outcome(status=status, note=note, log=log + messages["exception"]["traceback"])
    return _classify_death(code, log)


def _classify_death(code: int, log: str) -> Outcome:
    """A child that ended without a word: a signal, or an exit called by native code."""
    name = signal.Signals(-code).name if code < 0 else ""
    if name == "SIGKILL":  # not ours: the deadline is told apart before
        note = "killed by the system, most likely for lack of memory"
        return Outcome(status="oom", note=note, signal=name, log=log)
    if _is_out_of_memory(log):
        return Outcome(status="oom", note="out of memory", signal=name, log=log)
    note = f"died of {name}" if name else f"ended with exit code {code} and no answer"
    return Outcome(status="crash", note=note, signal=name, log=log)


def _is_out_of_memory(text: str) -> bool:
    """Whether a message is one of those that engines and libraries have for it."""
    return any(words in text for words in _OUT_OF_MEMORY)


def main() -> None:
    """The child's side: read the job, call the function, answer; and call what it returned for every further line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native code prints to descriptor 1: keep it off the answers

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def hear(text: str) -> None:
        say(progress=text)

    answer: Callable[[Any, Progress], Any] | None = None
    for line in sys.stdin:
        try:
            value = answer(json.loads(line), hear) if answer else _first(json.loads(line), hear)
            if answer is None and callable(value):
                answer, value = value, None
            say(result=value)
        except Error as error:
            say(error={"message": str(error), "hint": error.hint, "kind": type(error).__name__})
        except Exception as error:  # a bug, or a library's own failure: the parent names it
            kind, words = type(error).__name__, traceback.format_exc()
            say(exception={"kind": kind, "message": str(error), "traceback": words})
            break
        if answer is None:
            break
    answers.flush()
    os._exit(0)  # native libraries that crash while the interpreter shuts down would spoil a good answer


def _first(job: Any, hear: Progress) -> Any:
    """Call the function that the parent named; one with a second parameter gets a callback for progress."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    return function(job, hear) if function.__code__.co_argcount > 1 else function(job)


if __name__ == "__main__":
    main()
