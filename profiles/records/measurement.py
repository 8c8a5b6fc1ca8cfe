"""A measurement: one metric of one artifact, with raw samples and everything the number depends on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1

#: metric -> (unit, what it is); the one list of what a run can measure
METRICS: Mapping[str, tuple[str, str]] = {
    "load_seconds": ("s", "from opening the file to being ready to compute"),
    "first_token_seconds": ("s", "load, prefill of the prompt and the first greedy token; tokenising left out"),
    "prefill_tokens_per_second": ("tokens/s", "reading a prompt, one sample a repetition"),
    "decode_tokens_per_second": ("tokens/s", "writing one token after another, one sample a repetition"),
    "peak_rss_bytes": ("bytes", "largest resident size of the process, read by the process itself"),
    "peak_anonymous_bytes": (
        "bytes",
        "resident memory that the kernel cannot take back, the largest of several readings",
    ),
    "peak_file_backed_bytes": (
        "bytes",
        "resident pages of files, which the kernel can take back, the largest of several readings",
    ),
    "steady_rss_bytes": ("bytes", "resident size after the last repetition"),
    "steady_anonymous_bytes": ("bytes", "of it, what the kernel cannot take back"),
    "steady_file_backed_bytes": ("bytes", "of it, pages of files"),
    "shared_bytes": ("bytes", "of it, pages that other processes have mapped, too"),
    "must_fit_bytes": ("bytes", "what must be free so that nothing is paged: peak anonymous memory and files in use"),
    "joules_per_token_prefill": ("J/token", "energy of reading one, beyond idling; only where there is a meter"),
    "joules_per_token_decode": ("J/token", "energy of writing one, beyond idling; only where there is a meter"),
    "kl_divergence": ("nats", "mean divergence from the reference, one sample a window of text"),
    "kl_divergence_median": ("nats", "median divergence over all positions of the windows"),
    "kl_divergence_p99": ("nats", "divergence that one position in a hundred exceeds"),
    "kl_divergence_p999": ("nats", "divergence that one position in a thousand exceeds"),
    "kl_divergence_after_512": ("nats", "mean divergence after 512 tokens of context, one sample 64 positions"),
    "kl_divergence_after_2048": ("nats", "mean divergence after 2,048 tokens of context, one sample 64 positions"),
    "kept_tokens": ("tokens", "of each greedy answer of the reference, before this format's own would differ"),
    "same_top_token": ("share", "positions where the most likely token is the reference's, one sample a window"),
    "negative_log_likelihood": ("nats/token", "of the text; perplexity is its exponential; one sample a window"),
    "judge_score": ("points", "1 to 10, by the judge in parameters['judge'], one sample a dialogue; only where asked"),
    "accuracy": ("share", "outcome of each item, 1 for a right one, in the order of parameters['items']"),
    "margin": ("nats", "right choice against the best wrong one, in the order of parameters['items']: choices only"),
}

#: only where the machine has a meter: elsewhere there is no row of them
ENERGY_METRICS = tuple(metric for metric in METRICS if metric.startswith("joules_"))
#: as energy, a row only where there is something to measure: a judge, or a context that is long enough
WHERE_POSSIBLE = ("judge_score", "kl_divergence_after_512", "kl_divergence_after_2048")
SPEED_METRICS = tuple(
    metric for metric in METRICS if metric.endswith(("_seconds", "_per_second", "_bytes")) or metric in ENERGY_METRICS
)
QUALITY_METRICS = tuple(metric for metric in METRICS if metric not in SPEED_METRICS)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of results.jsonl. `samples` are raw; a row whose status is not "ok" has none and says why in `note`."""

    run: str
    at: str  # UTC, ISO 8601
    format: str
    artifact_sha256: str
    runtime: str  # "llama.cpp" | "onnxruntime"
    runtime_version: str
    device: str
    emulated: bool  # True where the device is not the machine that measured
    host: Mapping[str, Any]
    metric: str  # a key of METRICS
    unit: str
    samples: tuple[float, ...]
    parameters: Mapping[str, Any]  # threads, context, n_tokens, reference, items, kinds, ...
    status: str = "ok"  # "ok" | "error" | "oom" | "timeout" | "crash" | "unsupported"
    note: str = ""
    schema: int = field(default=SCHEMA)

    @property
    def variant(self) -> Mapping[str, Any]:
        """What differs from the plain measurement, as `Variant.to_json` has it; empty for a plain row."""
        return self.parameters.get("variant") or {}

    @property
    def variant_key(self) -> str:
        """The variant as one word, for telling rows apart; "" for a plain row."""
        return json.dumps(self.variant, sort_keys=True) if self.variant else ""

    @property
    def place(self) -> tuple[str, str]:
        """Device and processor that speed and memory are those of; ("", "") for answers, which are the same on all."""
        return (self.device, str(self.host.get("cpu", ""))) if self.metric in SPEED_METRICS else ("", "")

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Measurement":
        """The reverse of `to_json`."""
        return cls(**{**values, "samples": tuple(values["samples"])})
