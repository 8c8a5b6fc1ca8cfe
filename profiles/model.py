"""A model as the formulas of a plan see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..convert import ladder
from ..convert.architectures.geometry import Geometry

Tensors = Sequence[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as the formulas see it: its sizes, its tensors by GGUF name, and what travels beside the weights."""

    sizes: Geometry
    decoder: ladder.Decoder
    tensors: Tensors
    vocabulary_bytes: int = 0  # of a GGUF's keys
    companion_bytes: int = 0  # of the tokenizer's files in an ONNX folder
    fused: bool = False  # whether its ONNX graphs are our own, and not Optimum's
    block_size: int = 32  # weights that share a scale in ONNX formats

    @property
    def tied(self) -> bool:
        """True where the embedding is the output matrix too."""
        return all(name != "output.weight" for name, _ in self.tensors)

    @property
    def n_weights(self) -> int:
        """Number of weights, a tied embedding counted once."""
        return sum(prod(shape) for _, shape in self.tensors)
