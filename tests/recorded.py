"""Recorded samples: a plausible run over twelve formats, and rows made to measure for single situations."""

import random
from dataclasses import replace
from typing import Any

from edgequant.accuracy.paired import Interval, Paired
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import QuantisedSource
from edgequant.profiles.device import Cores, Device
from edgequant.profiles.records.measurement import METRICS, Measurement
from edgequant.report.rows import Cell, Mark, Row
from edgequant.report.table import Report, RunContext, build

N_ITEMS, N_WINDOWS, REPETITIONS = 160, 24, 6
REFERENCE, CRASHED = "F16", "IQ4_XS"
#: a name that breaks out of attributes, scripts, comments, Markdown tables and terminals wherever it is not escaped
HOSTILE = (
    "<b>x</b></script><!--<script>window.owned=1</script><img src=x onerror=window.owned=1>"
    "\"'`|**[red]\u001b[31m{{7*7}}&lt;"
)

#: format -> size MB, bits per weight, types, KL divergence, share of flipped items, decode/s, prefill/s, anonymous MB
RECORDED: dict[str, tuple[float, float, dict[str, float], float, float, float, float, float]] = {
    "onnx-fp32": (540.3, 32.0, {"F32": 1.0}, 2.1e-7, 0.0, 39, 830, 612),
    "F16": (270.9, 16.0, {"F16": 0.9998, "F32": 0.0002}, 0.0, 0.0, 67, 800, 58),
    "Q8_0": (144.8, 8.5, {"Q8_0": 0.9998, "F32": 0.0002}, 0.0048, 0.02, 139, 590, 61),
    "Q6_K": (138.4, 8.15, {"Q8_0": 0.79, "Q6_K": 0.21}, 0.0071, 0.02, 151, 560, 63),
    "Q5_K_M": (112.1, 6.61, {"Q5_1": 0.52, "Q8_0": 0.27, "Q5_K": 0.21}, 0.0209, 0.05, 158, 540, 62),
    "Q4_K_M": (105.5, 6.17, {"Q5_0": 0.52, "Q8_0": 0.27, "Q4_K": 0.21}, 0.0495, 0.08, 163, 570, 62),
    "source": (98.4, 5.8, {"Q4_1": 0.8, "Q8_0": 0.2}, 0.0031, 0.01, 171, 640, 60),
    "Q3_K_M": (93.5, 5.51, {"IQ4_NL": 0.6, "Q5_0": 0.3, "Q3_K": 0.1}, 0.1237, 0.12, 168, 600, 62),
    "Q4_0": (91.7, 5.4, {"Q4_0": 0.79, "Q8_0": 0.21}, 0.31, 0.2, 237, 930, 101),
    "Q2_K": (88.2, 5.14, {"IQ4_NL": 0.7, "Q8_0": 0.21, "Q2_K": 0.09}, 0.44, 0.25, 196, 840, 62),
    "onnx-int8-dynamic": (136.2, 8.1, {"INT8": 0.99, "F32": 0.01}, 0.63, 0.3, 57, 1500, 171),
}
NOTES = {
    "Q6_K": ("fell back: 180 of 272 tensors have rows (576) that fit no block of its types",),
    "Q5_K_M": ("fell back: 180 of 272 tensors have rows (576) that fit no block of its types",),
    "Q4_K_M": ("fell back: 180 of 272 tensors have rows (576) that fit no block of its types",),
    "Q3_K_M": ("fell back: 180 of 272 tensors have rows (576) that fit no block of its types",),
    "Q2_K": ("fell back: 180 of 272 tensors have rows (576) that fit no block of its types",),
}
ITEMS = [f"item-{n:03}" for n in range(N_ITEMS)]


def device(**changes: Any) -> Device:
    values: dict[str, Any] = {
        "name": "host",
        "title": "this machine (2 cores, x86-64)",
        "cores": (Cores(kind="Xeon", count=2),),
        "isa": ("avx2", "avx512f"),
        "ram_bytes": 8_000_000_000,
        "usable_ram_bytes": 6_400_000_000,
        "prefill_threads": 2,
        "decode_threads": 2,
        "context": 2048,
        "is_host": True,
    }
    return Device(**{**values, **changes})


def context(**changes: Any) -> RunContext:
    made = RunContext(
        checkpoint="SmolLM2-135M-Instruct",
        revision="sha256:5b1f0a",
        n_parameters=134_515_008,
        architecture="LlamaForCausalLM",
        dtype="F16",
        reference=REFERENCE,
        quantised_source=QuantisedSource(path="SmolLM2-135M-Instruct.Q4_1.gguf", type="Q4_1", size_bytes=98_400_000),
        rescaled=True,
        grid="Q4_1",
        n_text_tokens=8400,
        n_items=N_ITEMS,
        host={"processor": "Xeon", "cores": 2, "ram_bytes": 8_000_000_000, "system": "Linux 6.1"},
        command="edgequant run demo",
        versions={"edgequant": "0.1.0", "llama-cpp-python": "0.3.16", "onnxruntime": "1.23.2"},
        notes=("the weights were rescaled channel by channel without changing the function",),
    )
    return replace(made, **changes)


def artifact(name: str, **changes: Any) -> Artifact:
    size, bits, types, *_ = RECORDED[name]
    onnx = name.startswith("onnx")
    values: dict[str, Any] = {
        "checkpoint": "SmolLM2-135M-Instruct",
        "checkpoint_revision": "sha256:5b1f0a",
        "format": name,
        "container": "onnx" if onnx else "gguf",
        "path": f"artifacts/{name}" if onnx else f"artifacts/{name}.gguf",
        "size_bytes": int(size * 1e6),
        "sha256": f"digest-of-{name}",
        "true_bits_per_weight": bits,
        "tensor_types": types,
        "seconds": 2.5,
        "made_by": {"gguf": "0.17.1"},
        "notes": NOTES.get(name, ()),
    }
    return Artifact(**{**values, **changes})


def measurement(name: str, metric: str, samples: list[float], **changes: Any) -> Measurement:
    onnx = name.startswith("onnx")
    parameters = {"threads": 2, "context": 2048, "n_prompt": 128, "n_generate": 64, "reference": REFERENCE}
    values: dict[str, Any] = {
        "run": "recorded",
        "at": "2026-01-02T03:04:05Z",
        "format": name,
        "artifact_sha256": f"digest-of-{name}",
        "runtime": "onnxruntime" if onnx else "llama.cpp",
        "runtime_version": "1.23.2" if onnx else "0.3.16",
        "device": "host",
        "emulated": False,
        "host": {"processor": "Xeon", "cores": 2},
        "metric": metric,
        "unit": METRICS[metric][0],
        "samples": tuple(samples),
        "parameters": {**parameters, **({"items": ITEMS} if metric == "accuracy" else {})},
    }
    return Measurement(**{**values, **changes})


def artifacts() -> list[Artifact]:
    return [artifact(name) for name in RECORDED]


def measurements(*, seed: int = 7) -> list[Measurement]:
    """Every metric of every format of RECORDED, and a crash of CRASHED; the same for the same seed."""
    dice = random.Random(seed)
    right = [1.0 if dice.random() < 0.56 else 0.0 for _ in ITEMS]
    rows = [row for name in RECORDED for row in _measured(name, right, dice)]
    note = "SIGSEGV in the third repetition of prefill"
    rows += [measurement(CRASHED, metric, [], status="crash", note=note) for metric in METRICS if metric != "margin"]
    return rows


def report(**changes: Any) -> Report:
    return build(artifacts(), measurements(), device=device(), context=context(**changes))


def hostile() -> Report:
    """The same run with every text from outside replaced by a hostile one, the name of one format among them."""
    evil = {"Q4_0": HOSTILE}
    files = [replace(a, format=evil.get(a.format, a.format), notes=(*a.notes, HOSTILE)) for a in artifacts()]
    rows = [replace(m, format=evil.get(m.format, m.format), note=m.note and HOSTILE) for m in measurements()]
    about = context(checkpoint=HOSTILE, architecture=HOSTILE, revision=HOSTILE, command=HOSTILE, notes=(HOSTILE,))
    about = replace(about, host={HOSTILE: HOSTILE}, versions={"edgequant": HOSTILE})
    return build(files, rows, device=device(title=HOSTILE), context=about)


def _measured(name: str, right: list[float], dice: random.Random) -> list[Measurement]:
    size, _, _, nats, flips, decode, prefill, anonymous = RECORDED[name]
    file_backed = size * 1e6 * (0.1 if name.startswith("onnx") else 1.0)
    windows = [nats * dice.lognormvariate(0, 0.3) for _ in range(N_WINDOWS)]
    outcomes = [1 - x if dice.random() < flips else x for x in right]
    samples = {
        "load_seconds": [0.2 + size / 1000],
        "first_token_seconds": [0.2 + size / 1000 + 128 / prefill],
        "prefill_tokens_per_second": [prefill * dice.gauss(1, 0.02) for _ in range(REPETITIONS)],
        "decode_tokens_per_second": [decode * dice.gauss(1, 0.015) for _ in range(REPETITIONS)],
        "peak_rss_bytes": [anonymous * 1e6 + file_backed],
        "peak_anonymous_bytes": [anonymous * 1e6],
        "peak_file_backed_bytes": [file_backed],
        "kl_divergence": windows,
        "same_top_token": [max(0.0, 1 - 0.6 * w**0.5) for w in windows],
        "negative_log_likelihood": [2.9 + w + dice.gauss(0, 0.25) for w in windows],
        "accuracy": outcomes,
        "margin": [dice.gauss(0.4, 1.0) for _ in ITEMS],
    }
    return [measurement(name, metric, values) for metric, values in samples.items()]


def row(
    name: str,
    *,
    mb: float | None = 100,
    nats: float | None = 0.01,
    decode: float | None = 100,
    noise: float | None = 2,
    prefill: float | None = 500,
    rss_mb: float | None = 200,
    loss: tuple[float, float, float] | None = (0.0, -2.0, 2.0),
    **changes: Any,
) -> Row:
    """A row made to measure: decode +- noise (None: one sample, no interval), loss as (estimate, low, high)."""
    numbers = {
        "kl_divergence": nats,
        "decode_tokens_per_second": decode,
        "prefill_tokens_per_second": prefill,
        "peak_rss_bytes": None if rss_mb is None else rss_mb * 1e6,
    }
    cells = {metric: missing("not part of this situation") for metric in [*METRICS, "perplexity"]}
    for metric, value in numbers.items():
        between = _around(value, noise) if metric == "decode_tokens_per_second" else None
        cells[metric] = missing("left out") if value is None else Cell(value=value, interval=between, n=6)
    values: dict[str, Any] = {
        "format": name,
        "container": "onnx" if name.startswith("onnx") else "gguf",
        "runtime": "llama.cpp 0.3.16",
        "size_bytes": None if mb is None else int(mb * 1e6),
        "true_bits_per_weight": 8.5,
        "tensor_types": {"Q8_0": 1.0},
        "cells": cells,
        "loss": None if loss is None else paired(*loss),
        "loss_note": "no accuracy was measured" if loss is None else "",
    }
    return Row(**{**values, **changes})


def reference_row(name: str = "F16", **changes: Any) -> Row:
    return row(name, **{"mb": 270, "nats": 0.0, "decode": 60, "loss": None, "is_reference": True, **changes})


def crashed_row(name: str, *, code: str = "crashed") -> Row:
    mark = Mark(code=code, sentence="every measurement: SIGSEGV")
    return row(name, nats=None, decode=None, prefill=None, rss_mb=None, loss=None, marks=(mark,))


def tied(*rows: Row) -> list[Row]:
    """The rows with their accuracies indistinguishable pair by pair."""
    return [replace(r, ties=tuple(o.format for o in rows if o is not r)) for r in rows]


def missing(note: str) -> Cell:
    return Cell(value=None, status="missing", note=note)


def paired(estimate: float, low: float, high: float) -> Paired:
    between = Interval(low=low, high=high, estimate=estimate)
    return Paired(n=160, reference_share=0.5, candidate_share=0.5, lost=3, gained=3, p_value=1.0, loss=between)


def _around(value: float | None, noise: float | None) -> Interval | None:
    return None if value is None or noise is None else Interval(low=value - noise, high=value + noise, estimate=value)
