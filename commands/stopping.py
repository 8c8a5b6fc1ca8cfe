"""Ending early: signals that ask for it, and what is said to whoever asked."""

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: what asks a process to end: a service manager or `kill`, and a terminal that is closed
_SIGNALS = ("SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal that asks to end, raised where the process is: so children are ended and files tidied as by Ctrl-C."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        """Keep the signal's number."""
        super().__init__()
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals into `Stopped` while the block runs; those that a caller has had ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def exit_code(stop: KeyboardInterrupt) -> int:
    """As shells count it: 128 and the signal's number, 130 for Ctrl-C."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def farewell(*, is_kept: bool) -> str:
    """What is said at the end; the line that goes on stands alone, to be copied."""
    if not is_kept:
        return "edgequant: stopped"
    return f"edgequant: stopped; what is done is kept. Go on with:\n{shlex.join(['edgequant', *sys.argv[1:]])}"
