"""What one part of the gate found of one artifact."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..child import Outcome

PASSED, FAILED, WARNING, NOT_CHECKED = "passed", "failed", "warning", "not checked"


@dataclass(frozen=True, kw_only=True)
class Part:
    """How a part of the gate is stored: the metric of its rows, their unit, and what one sample is."""

    metric: str
    unit: str
    sample: str


def _part(metric: str, unit: str, sample: str) -> Part:
    return Part(metric=metric, unit=unit, sample=sample)


#: the parts of the gate, in the order in which people read of them
PARTS: Mapping[str, Part] = {
    "file": _part("gate_file", "share", "1 for the bytes that were made, else 0"),
    "tokenizer": _part("gate_tokenizer", "share", "1 for a string with the checkpoint's ids and text, else 0"),
    "template": _part("gate_template", "share", "1 for a conversation with the checkpoint's text, else 0"),
    "special ids": _part("gate_special_ids", "share", "1 for a rule about special tokens that holds, else 0"),
    "logits": _part("gate_logits", "nats", "divergence of a token from what the artifact is checked against"),
    "source": _part("gate_source", "nats", "divergence of a token from the source file in llama.cpp"),
    "weights": _part("gate_weights", "share", "error of a tensor relative to the unquantised one"),
    "kernels": _part("gate_kernels", "share", "error of a matrix product relative to numpy's"),
    "origin": _part("gate_origin", "share", "none: what the artifact is made from failed its checks"),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict with its reason; a failed one's reason is the first difference. `samples` as `PARTS` says."""

    verdict: str  # PASSED | FAILED | WARNING | NOT_CHECKED
    said: str
    samples: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: {self.said}"

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Finding":
        """The reverse of `to_json`."""
        return cls(**{**values, "samples": tuple(values["samples"])})


def found(outcome: Outcome) -> Finding:
    """What a child's check returned; a child that died, was stopped or could not go on is a failed check."""
    if outcome.status == "ok":
        return Finding.from_json(outcome.value)
    return Finding(verdict=FAILED, said=outcome.note)


def not_checked(reason: str) -> Finding:
    """Nothing was compared, for this reason: never a tick."""
    return Finding(verdict=NOT_CHECKED, said=reason.removeprefix(f"{NOT_CHECKED}: "))
