"""Functions that a test lets run behind the fence: they answer, fail, die and hang in every way that is known."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgequant import Error


def echo(job: dict[str, Any]) -> dict[str, Any]:
    return {"got": job, "pid": os.getpid()}


def counts(job: dict[str, Any], progress: Callable[[str], None]) -> int:
    for n in range(job["n"]):
        progress(f"{n + 1} of {job['n']}")
    return int(job["n"])


def fails(job: dict[str, Any]) -> None:
    raise Error(job.get("message", "the disk is full"), hint="delete something")


def breaks(job: dict[str, Any]) -> None:
    raise RuntimeError(job.get("message", "a bug"))


def runs_out(job: dict[str, Any]) -> Any:
    if job["of"] == "numpy":
        import numpy as np

        return np.empty(2**60, dtype=np.uint8)
    raise MemoryError


def answers_what_json_cannot(job: dict[str, Any]) -> object:
    return {1, 2}


def dies(job: dict[str, Any]) -> None:
    """Die of the signal `job["signal"]`, after writing `job["words"]` to stderr."""
    os.write(2, job.get("words", "").encode())
    os.kill(os.getpid(), getattr(signal, job["signal"]))
    time.sleep(60)


def exits(job: dict[str, Any]) -> None:
    os._exit(job["code"])


def hangs(job: dict[str, Any], progress: Callable[[str], None]) -> None:
    progress(str(os.getpid()))
    time.sleep(60)


def chatters(job: dict[str, Any]) -> str:
    """Noise on descriptor 1 from Python, from a system call and from C's own buffers, and a warning."""
    print('{"result": "python"}')  # noqa: T201
    sys.stdout.flush()
    os.write(1, b'{"result": "system call"}\n')
    library = ctypes.CDLL(None)
    library.puts(b'{"result": "C"}')
    library.fflush(None)
    warnings.warn("noise", stacklevel=1)
    return "the answer"


def breaks_off(job: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Die in the middle of the answer."""
    progress("whole")
    writer = next(cell.cell_contents for cell in _closure_of(progress) if hasattr(cell.cell_contents, "write"))
    writer.write('{"result": "ha')
    writer.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def _closure_of(progress: Callable[[str], None]) -> tuple[Any, ...]:
    """The cells of the child's `say`, which `progress` calls and which holds the pipe to the parent."""
    say = next(cell.cell_contents for cell in progress.__closure__ or () if callable(cell.cell_contents))
    return tuple(say.__closure__)


def environment(job: dict[str, Any]) -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in job["names"]}


def uses_numpy(job: dict[str, Any]) -> list[str]:
    import llama_cpp
    import numpy

    return [llama_cpp.__name__, numpy.__name__]


def dies_with_repack(job: dict[str, Any]) -> dict[str, Any]:
    """Die of `job["signal"]` for as long as the settings ask for repacked kernels; say which settings were given."""
    if job["settings"]["repack"] or job.get("always"):
        dies(job)
    return {"settings": job["settings"]}


def checks_disk(job: dict[str, Any]) -> None:
    """Half a file beside `job["target"]`, then death."""
    from edgequant.convert.atomic import replacing

    with replacing(Path(job["target"])) as partial:
        partial.write_bytes(b"half")
        dies({"signal": "SIGKILL"})


def limits(job: dict[str, Any]) -> list[int]:
    import resource

    return list(resource.getrlimit(resource.RLIMIT_DATA))


def fills(job: dict[str, Any]) -> int:
    """Write to `job["bytes"]` of fresh memory."""
    return len(bytearray(b"x") * job["bytes"])


def maps(job: dict[str, Any]) -> int:
    """Read a file through a mapping, as llama.cpp does."""
    import mmap

    with Path(job["path"]).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return sum(mapped[i] for i in range(0, len(mapped), mmap.PAGESIZE))


def computes(job: dict[str, Any]) -> int:
    """Open a session, read a prompt, write a token."""
    from edgequant.runtimes.session import Settings, open_session

    session = open_session(job["container"], job["path"], Settings(**job["settings"]))
    session.evaluate(job["tokens"], logits="last")
    return int(session.evaluate(job["tokens"][:1], logits="last").argmax())


def makes_nothing(job: dict[str, Any]) -> dict[str, str]:
    return {}


def computes_wrongly(job: dict[str, Any]) -> dict[str, Any]:
    """What a family of kernels says that is off numpy's by `job["error"]`."""
    return {"is_right": False, "error": job["error"], "said": "off", "repacked": False}


def product_of_damaged_graph(job: dict[str, Any]) -> dict[str, Any]:
    """A product that ONNX Runtime computes with other weights than those that numpy reads."""
    from edgequant.profiles.doctor import trial_ort

    read = trial_ort.products

    def other(folder: Any) -> Any:
        (found,) = read(folder)
        rows = found.weights.rows
        return [_replaced(found, weights=_replaced(found.weights, rows=lambda numbers: -rows(numbers)))]

    trial_ort.products = other
    return trial_ort.product(job, lambda text: None)


def _replaced(found: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(found, **changes)
