"""What a user may choose about quantised ONNX artifacts; each format names those of the options that it heeds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error
from .calibration.windows import TEXT_FILE
from .formats import Format

_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 256  # powers of two that MatMulNBits and GatherBlockQuantized both take


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """`block_size` weights share a scale; `calibration` is a text, None for the built-in one.

    `per_channel` gives every output channel of an int8 matrix a scale, else there is one a matrix. `reduce_range`
    keeps int8 weights within 7 bits, for x86 without VNNI, whose products of pairs overflow 16 bits. `plain_head` gives
    formats that round activations a head as their layers have, for processors that unpack blocks for each product.
    `calibration_digest` is the text's, once it is known: a run stays what it was where the file has gone since.
    """

    block_size: int = 32
    per_channel: bool = True
    calibration: Path | None = None
    reduce_range: bool = False
    plain_head: bool = False
    calibration_digest: str = ""

    def __post_init__(self) -> None:
        """Refuse what no operator takes."""
        n = self.block_size
        if not _SMALLEST_BLOCK <= n <= _LARGEST_BLOCK or n & (n - 1):
            raise Error(f"a block of {n} weights is none", hint="--block-size takes 16, 32, 64, 128 or 256")

    def job(self) -> dict[str, Any]:
        """The options as plain JSON values, for a child."""
        calibration = str(self.calibration.resolve()) if self.calibration else ""
        return {**vars(self), "calibration": calibration, "calibration_digest": self._digest()}

    def heeded(self, fmt: Format) -> dict[str, Any]:
        """What an artifact of this format depends on, as its manifest keeps it."""
        return {name: self._digest() if name == "calibration" else getattr(self, name) for name in fmt.options}

    def _digest(self) -> str:
        file = self.calibration or TEXT_FILE
        try:
            return self.calibration_digest or hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise Error(f"cannot read {file}: {error.strerror}") from None


def from_job(values: Mapping[str, Any]) -> OnnxOptions:
    """The reverse of `OnnxOptions.job`."""
    calibration = Path(values["calibration"]) if values.get("calibration") else None
    return OnnxOptions(**{**values, "calibration": calibration})
