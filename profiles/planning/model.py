"""A model as the formulas of a plan see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from ...convert import ladder
from ...convert.architectures.geometry import Geometry
from ...convert.attention import Attention
from ...convert.fused.outline import Outlined

Tensors = Sequence[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as the formulas see it: its sizes, its tensors by GGUF name, and what travels beside the weights."""

    sizes: Geometry
    decoder: ladder.Decoder
    tensors: Tensors
    header_bytes: int = 0  # of a GGUF, before its data
    companion_bytes: int = 0  # of the tokenizer's files in an ONNX folder
    graphs: Mapping[str, Outlined] = field(default_factory=dict)  # of our ONNX graphs, by format
    fused: bool = False  # whether its ONNX graphs are our own, and not Optimum's
    block_size: int = 32  # weights that share a scale in ONNX formats; this and the next two as in `OnnxOptions`
    per_channel: bool = True
    plain_head: bool = False
    has_tokenizer: bool = True  # False where the tokenizer's bytes are guessed

    @property
    def tied(self) -> bool:
        """True where the embedding is the output matrix too."""
        return all(name != "output.weight" for name, _ in self.tensors)

    @property
    def n_weights(self) -> int:
        """Number of weights, a tied embedding counted once."""
        return sum(prod(shape) for _, shape in self.tensors)

    @property
    def attention(self) -> Attention:
        """What each layer caches of a token."""
        sizes = self.sizes
        layers = range(sizes.n_layers)
        attends = [(not sizes.attends or sizes.attends[layer]) and sizes.has_keys[layer] for layer in layers]
        return Attention(
            cached_values=tuple(2 * prod(sizes.heads_of(layer)) * attends[layer] for layer in layers),
            windowed=tuple(bool(sizes.slides) and sizes.slides[layer] for layer in layers),
            window=sizes.window or 0,
            trained_context=sizes.context,
        )

    @property
    def state_bytes(self) -> int:
        """What layers keep that do not attend: float32 states of linear attention, and tokens of convolutions.

        Source: llama.cpp's src/llama-hparams.cpp, n_embd_r and n_embd_s.
        """
        sizes = self.sizes
        n_others = sum(not attends for attends in sizes.attends)
        state = sizes.linear_values * sizes.linear_head_dim
        channels = 2 * sizes.linear_key_heads * sizes.linear_head_dim + sizes.linear_values or sizes.hidden
        return 4 * n_others * (state + max(0, sizes.conv_kernel - 1) * channels)
