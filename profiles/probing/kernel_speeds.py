"""How fast the engines multiply with each tensor type on this machine: weights per second, in decode and in prefill.

Each type is timed in random models of its own, through the engine that would run the real ones. The time of a token is

    token_seconds + layers x (layer_seconds + weights of a layer / weights_per_second)

Narrow models, whose products are next to nothing, of few and of many layers give the first two; a wide model that no
cache holds gives the last. A prompt of 128 tokens through one wide layer gives the speed of prefill.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ...child import Progress
from ...runtimes.fence import Fence
from ...runtimes.session import Session, Settings, open_session
from . import speed_model
from .speed_model import CONTEXT, NARROW, VOCABULARY, Shape

ENTRY = f"{__name__}:measure"
#: (container, type), what is asked for most first: all tensor types that GGUF formats come to, and default ONNX formats
TYPES: Sequence[tuple[str, str]] = (
    ("gguf", "Q4_K"),
    ("gguf", "Q8_0"),
    ("gguf", "Q4_0"),
    ("gguf", "Q6_K"),
    ("onnx", "onnx-int8"),
    ("onnx", "onnx-w8a8"),
    ("gguf", "F16"),
    ("gguf", "Q5_K"),
    ("gguf", "Q3_K"),
    ("gguf", "Q2_K"),
    ("onnx", "onnx-fp32"),
    ("gguf", "Q5_0"),
    ("gguf", "Q5_1"),
    ("gguf", "Q4_1"),
)
BATCH = 128
_FEW, _MANY = 2, 34  # layers of the narrow models
_PROMPT, _MOST_TOKENS, _FEWEST = 8, 200, 3
_DECODE_SECONDS, _PREFILL_SECONDS = 0.25, 0.4  # of one measurement
_WINDOWS, _STEADY = 3, 1.2
_BUDGET_SECONDS = 150.0  # no type is begun after it; here all take about a minute
_DEADLINE_SECONDS = 120.0  # of one type
_LEAST_BYTES, _CACHES, _OF_FREE_MEMORY = 32 << 20, 2, 0.125


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Rows as `device.KernelSpeed` has them, and what could not be measured, in words."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def model_bytes(*, free_bytes: int, cache_bytes: int) -> int:
    """Bytes of a model that no cache holds, or as many as a machine that is nearly full can spare."""
    return min(max(_LEAST_BYTES, _CACHES * cache_bytes), int(_OF_FREE_MEMORY * free_bytes))


def speeds(
    threads: Sequence[int], *, n_bytes: int, progress: Progress, types: Sequence[tuple[str, str]] = TYPES
) -> Speeds:
    """Time each type with each count of threads; one that fails, or comes after the budget, is a note."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    fence, end = Fence(), time.monotonic() + _BUDGET_SECONDS
    for container, type_ in types:
        if time.monotonic() > end:
            notes.append(f"{type_}: not measured, for the probe took long enough")
            continue
        progress(f"kernels, {type_}")
        job = {"container": container, "type": type_, "threads": list(threads), "n_bytes": n_bytes}
        with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
            asked = Settings(threads=1, context=CONTEXT)
            full = {**job, "folder": folder}
            outcome, settings = fence.run(ENTRY, full, settings=asked, deadline_seconds=_DEADLINE_SECONDS)
        if outcome.status != "ok":
            notes.append(f"{type_}: not measured: {outcome.note}")
            continue
        rows += outcome.value
        if settings.repack != asked.repack and not any("repacked" in note for note in notes):
            notes.append("llama.cpp's repacked kernels die here: those of the file's own layout were measured")
    return Speeds(rows=tuple(rows), notes=tuple(notes))


def measure(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write the models of `job["container"]` and `job["type"]` to `job["folder"]` and time them: a row a thread count.

    Behind the fence, which adds `job["settings"]`.
    """
    files = dict(_models(job))
    return [_row(job, files, n) for n in job["threads"]]


def _models(job: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Path, Shape]]]:
    container, type_ = job["container"], job["type"]
    narrow = speed_model.narrow_type(container, type_)
    wide = speed_model.of_size(job["n_bytes"], speed_model.bits_per_weight(container, type_))
    plans = {
        "wide": (type_, wide),
        "short": (type_, speed_model.layer_for(job["n_bytes"])),
        "few": (narrow, replace(NARROW, layers=_FEW)),
        "many": (narrow, replace(NARROW, layers=_MANY)),
    }
    for name, (kind, shape) in plans.items():
        target = Path(job["folder"]) / (f"{name}.gguf" if container == "gguf" else name)
        speed_model.write(container, kind, shape, target)
        yield name, (target, shape)


def _row(job: Mapping[str, Any], files: Mapping[str, tuple[Path, Shape]], threads: int) -> dict[str, Any]:
    settings = Settings(**{**job["settings"], "threads": threads})

    def timed(name: str, how: Callable[[Session], float]) -> float:
        with closing(open_session(job["container"], str(files[name][0]), settings)) as session:
            return how(session)

    few, many, wide = (timed(name, _decode_seconds) for name in ("few", "many", "wide"))
    found = separated(few, many, wide, shape=files["wide"][1])
    prefill = timed("short", _prefill_seconds)
    return {
        "container": job["container"],
        "type": job["type"],
        "threads": threads,
        **found,
        "weights_per_second_prefill": BATCH * files["short"][1].layer_weights / prefill,
    }


def separated(few: float, many: float, wide: float, *, shape: Shape) -> dict[str, float]:
    """Seconds of a token in the three models, taken apart; what noise makes negative is nothing."""
    layer = max(0.0, (many - few) / (_MANY - _FEW))
    token = max(0.0, few - _FEW * layer)
    products = wide - token - shape.layers * layer
    if products <= 0:  # on a machine that is busy otherwise
        layer, token, products = 0.0, 0.0, wide
    return {
        "weights_per_second_decode": shape.layers * shape.layer_weights / products,
        "layer_seconds": layer,
        "token_seconds": token,
    }


def _decode_seconds(session: Session) -> float:
    """Tokens one by one behind a short prompt."""
    session.evaluate([token % VOCABULARY for token in range(_PROMPT)], logits="last")

    def again() -> None:
        if len(session.tokens) == CONTEXT:
            session.rewind(_PROMPT)
        session.evaluate([1], logits="last")

    return _seconds(again, _DECODE_SECONDS)


def _prefill_seconds(session: Session) -> float:
    tokens = [token % VOCABULARY for token in range(BATCH)]

    def again() -> None:
        session.rewind(0)
        session.evaluate(tokens, logits="all")  # of the last layer llama.cpp leaves out what no logits are asked of

    return _seconds(again, _PREFILL_SECONDS)


def _seconds(work: Callable[[], object], seconds: float) -> float:
    """Of runs that go on for `seconds`, at least three, the lower quartile: what others disturb is slower.

    Where the middle lies far above it they are repeated, and the best quartile counts. Before comes one to warm up.
    """
    work()
    best = float("inf")
    for _ in range(_WINDOWS):
        samples = sorted(_samples(work, seconds))
        quartile = samples[len(samples) // 4]
        best = min(best, quartile)
        if median(samples) <= _STEADY * quartile:
            break
    return best


def _samples(work: Callable[[], object], seconds: float) -> list[float]:
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < _FEWEST or (time.perf_counter() < end and len(samples) < _MOST_TOKENS):
        started = time.perf_counter()
        work()
        samples.append(time.perf_counter() - started)
    return samples
