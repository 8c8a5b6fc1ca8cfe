"""What one part of the gate found of one artifact."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..child import Outcome

PASSED, FAILED, WARNING, NOT_CHECKED = "passed", "failed", "warning", "not checked"
#: part of the gate -> (metric of its rows, unit of its samples, what one sample is)
PARTS: Mapping[str, tuple[str, str, str]] = {
    "tokenizer": ("gate_tokenizer", "share", "1 for a string with the checkpoint's ids and text, 0 for another"),
    "template": ("gate_template", "share", "1 for a conversation with the checkpoint's text, 0 for another"),
    "special ids": (
        "gate_special_ids",
        "share",
        "1 for a rule about special tokens that holds, 0 for a breach",
    ),
    "logits": ("gate_logits", "nats", "divergence from what the artifact is checked against, one sample a token"),
    "source": ("gate_source", "nats", "divergence from the source file in llama.cpp, one sample a token"),
    "weights": ("gate_weights", "share", "error of a tensor's weights relative to the unquantised ones, one a tensor"),
    "kernels": ("gate_kernels", "share", "error of a matrix product relative to numpy's, one sample a matrix"),
    "origin": ("gate_origin", "share", "0 where what the artifact is made from failed its checks"),
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
