"""A decoder as a graph of ONNX Runtime's fused operators: embedding, layers, head, in the order of the computation.

One layer is: norm, q, k and v in one product, attention over the cache (GroupQueryAttention rotates, masks and
appends), output product, norm, gate and up in one product, activation, down product. The sum of the residual stream
and the norm behind it are one operator (SkipSimplifiedLayerNormalization).
"""

from collections.abc import Mapping
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING

from ..architectures.geometry import Geometry, geometry
from ..architectures.layout import PlannedTensor, plan
from ..architectures.table import find
from ..checkpoint import Checkpoint
from . import positions
from .graph import CONTEXT, CONTRIB, KEPT, Graph
from .matrix import Matrix, vector
from .products import Scheme

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: lengths that are left open, in the words of Optimum, whose runtime computes with them
_NEW, _PAST, _TOTAL = "sequence_length", "past_sequence_length", "past_sequence_length + sequence_length"
_GELU = ("gemma", "gemma2", "gemma3")
_ALL = 2**31 - 1
_ROTATED_AT_ONCE = 16
_INT32, _INT64 = 6, 7  # onnx.TensorProto.DataType


class Decoder:
    """Adds a checkpoint's nodes to a graph; values are float32 [1, tokens, hidden] unless said otherwise."""

    def __init__(self, graph: Graph, checkpoint: Checkpoint, scheme: Scheme, *, allow_nan: bool = False) -> None:
        self._graph, self._scheme, self._allow_nan = graph, scheme, allow_nan
        self.model: Geometry = geometry(checkpoint, slides_always=True)
        self._kind = find(checkpoint).gguf
        self._counted = ""
        self._tensors: Mapping[str, PlannedTensor] = {tensor.name: tensor for tensor in plan(checkpoint)}

    def whole(self) -> None:
        """The model from token ids to logits."""
        graph = self._graph
        ids = graph.input("input_ids", "int64", (1, _NEW))
        self.mask()
        hidden = self.embedding(ids)
        added = ""
        for layer in range(self.model.n_layers):
            hidden, added = self.layer(layer, hidden, added)
        logits = self.head(hidden, added)
        graph.output("logits", "float32", (1, _NEW, self.model.vocabulary))
        graph.node("Identity", [logits], output="logits")

    def mask(self) -> None:
        """The input that says how many tokens there are, past and new."""
        import numpy as np

        graph = self._graph
        mask = graph.input("attention_mask", "int64", (1, _TOTAL))
        self._n_all = graph.node("Shape", [mask], start=1, end=2)
        self._total = graph.node("Cast", [graph.node("Squeeze", [self._n_all])], to=_INT32)
        last = graph.node("Sub", [self._n_all, graph.constant("one_token", np.array([1]))])
        self._last = graph.node("Cast", [last], to=_INT32)

    def embedding(self, ids: str) -> str:
        """Rows of the embedding for token ids [1, tokens]."""
        hidden = self._scheme.embedding(self._graph, self._matrix("token_embd"), ids)
        scale = sqrt(self.model.hidden) if self._kind in _GELU else self.model.embedding_scale
        return self._scaled(hidden, scale)

    def layer(self, layer: int, hidden: str, added: str) -> tuple[str, str]:
        """One layer over the residual stream `hidden` + `added` ("" for nothing), returned in the same two parts."""
        at = f"blk.{layer}."
        hidden, x = self._normed(hidden, added, f"{at}attn_norm.weight")
        y = self._attention(layer, at, x)
        y = self._behind(y, f"{at}post_attention_norm.weight")
        hidden, x = self._normed(hidden, y, f"{at}ffn_norm.weight")
        y = self._feed_forward(at, x)
        return hidden, self._behind(y, f"{at}post_ffw_norm.weight")

    def head(self, hidden: str, added: str) -> str:
        """Logits float32 [1, tokens that are kept, vocabulary]."""
        import numpy as np

        graph = self._graph
        _, x = self._normed(hidden, added, "output_norm.weight")
        kept = graph.default_input(KEPT, np.array([0]))
        one, end = graph.constant("axis_of_tokens", np.array([1])), graph.constant("end", np.array([_ALL]))
        x = graph.node("Slice", [x, graph.node("Neg", [kept]), end, one])
        tied = "output.weight" not in self._tensors or self.model.tied
        logits = self._scheme.head(graph, self._matrix("token_embd" if tied else "output"), x)
        if self.model.logit_scale:
            logits = self._scaled(logits, 1 / self.model.logit_scale)
        cap = self.model.logit_softcap
        return self._scaled(graph.node("Tanh", [self._scaled(logits, 1 / cap)]), cap) if cap else logits

    def _attention(self, layer: int, at: str, x: str) -> str:
        graph, model = self._graph, self.model
        packed = f"{at}attn_qkv" if f"{at}attn_qkv.weight" in self._tensors else ""
        names = [packed] if packed else [f"{at}attn_{part}" for part in "qkv"]
        qkv = self._scheme.layers(graph, self._stacked(f"{at}attn_qkv", names), x)
        slides = bool(model.slides) and model.slides[layer]
        inputs, rotary = self._rotated(layer, at, qkv, slides=slides)
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        shape = (1, model.n_kv_heads, _PAST, model.head_dim)
        for name in past:
            graph.input(name, "float32", shape)
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        attended, *_ = graph.nodes(
            "GroupQueryAttention",
            [*inputs, *past, self._last, self._total, *rotary],
            outputs=[f"{at}attended", *present],
            domain=CONTRIB,
            num_heads=model.n_heads,
            kv_num_heads=model.n_kv_heads,
            scale=self._attention_scale,
            softcap=model.attention_softcap or 0.0,
            local_window_size=int(model.window or 0) if slides else -1,
            do_rotary=int(bool(rotary)),
        )
        for name in present:
            graph.output(name, "float32", (1, model.n_kv_heads, _TOTAL, model.head_dim))
        return self._scheme.layers(graph, self._matrix(f"{at}attn_output"), attended)

    @cached_property
    def _attention_scale(self) -> float:
        if self.model.attention_scale:
            return self.model.attention_scale
        return 1 / sqrt(self.model.query_scalar or self.model.head_dim)

    def _rotates(self, layer: int) -> bool:
        """SmolLM3 leaves every fourth layer without positions."""
        return self._kind != "smollm3" or (layer + 1) % 4 != 0

    def _rotated(self, layer: int, at: str, qkv: str, *, slides: bool) -> tuple[list[str], list[str]]:
        """q, k and v (or all in the first), and what attention itself is to rotate them with.

        It takes eight pairs of a head at a time (rotary_helper of its kernel); others are rotated beforehand.
        """
        inputs = [qkv, "", ""]
        if f"{at}attn_q_norm.weight" in self._tensors:
            inputs = self._with_norms(at, qkv)
        if not self._rotates(layer):
            return inputs, []
        caches = self._caches(slides=slides)
        long = positions.long_rotation(self.model)
        if self.model.rotary_dim % _ROTATED_AT_ONCE == 0:
            return inputs, [*caches, self._positions(long[1])] if long else caches
        q, k, v = inputs if inputs[1] else self._apart(qkv)
        named = self._positions(long[1] if long else 0)
        return [
            *(self._turned(x, named, caches, n) for x, n in ((q, self.model.n_heads), (k, self.model.n_kv_heads))),
            v,
        ], []

    def _turned(self, x: str, named: str, caches: list[str], n_heads: int) -> str:
        dim = self.model.rotary_dim
        return self._graph.node(
            "RotaryEmbedding", [x, named, *caches], domain=CONTRIB, num_heads=n_heads, rotary_embedding_dim=dim
        )

    def _caches(self, *, slides: bool) -> list[str]:
        """Names of the caches of cosines and sines; longrope's two lie one behind the other."""
        graph, suffix = self._graph, "_sliding" if slides and self.model.local_rope_theta else ""
        if f"cos{suffix}" not in graph:
            cosines, sines = self._rotation(slides=slides)
            graph.constant(f"cos{suffix}", cosines)
            graph.constant(f"sin{suffix}", sines)
        return [f"cos{suffix}", f"sin{suffix}"]

    def _rotation(self, *, slides: bool) -> "tuple[Floats, Floats]":
        """Cosines and sines, each float32 [positions, rotary_dim / 2]."""
        import numpy as np

        n, second = positions.n_positions(self.model), positions.long_rotation(self.model)
        first = positions.rotation(self.model, slides=slides)
        if not second:
            return first.cache(n)
        cosines, sines = zip(first.cache(second[1]), second[0].cache(n), strict=True)
        return np.concatenate(cosines), np.concatenate(sines)

    def _positions(self, original: int) -> str:
        """Positions int64 [1, tokens]; with `original`, those of the second cache where there are more tokens."""
        import numpy as np

        graph = self._graph
        if not self._counted:
            first = graph.node("Sub", [self._n_all, graph.node("Shape", ["input_ids"], start=1, end=2)])
            bounds = [first, self._n_all]
            if original:
                many = graph.node("Max", [self._n_all, graph.default_input(CONTEXT, np.array([0]))])
                longer = graph.node("Greater", [many, graph.constant("original", np.array([original]))])
                shift = graph.node("Mul", [graph.node("Cast", [longer], to=_INT64), "original"])
                bounds = [graph.node("Add", [bound, shift]) for bound in bounds]
            counted = graph.node(
                "Range", [*(graph.node("Squeeze", [b]) for b in bounds), graph.constant("step_of_one", np.array(1))]
            )
            self._counted = graph.node("Unsqueeze", [counted, graph.constant("first_axis", np.array([0]))])
        return self._counted

    def _apart(self, qkv: str) -> list[str]:
        """q, k and v of a joint product."""
        import numpy as np

        q, kv = self.model.n_heads * self.model.head_dim, self.model.n_kv_heads * self.model.head_dim
        return self._graph.nodes(
            "Split", [qkv, self._graph.constant("q_k_v", np.array([q, kv, kv]))], outputs=3, axis=-1
        )

    def _with_norms(self, at: str, qkv: str) -> list[str]:
        """q, k and v apart, q and k normed: each head by itself, or all heads at once."""
        q, k, v = self._apart(qkv)
        return [self._head_norm(f"{at}attn_q_norm.weight", q), self._head_norm(f"{at}attn_k_norm.weight", k), v]

    def _head_norm(self, name: str, x: str) -> str:
        import numpy as np

        graph, weights = self._graph, self._vector(name)
        if len(weights) != self.model.head_dim:
            return self._norm(x, name)
        heads = graph.constant("heads", np.array([0, 0, -1, self.model.head_dim]))
        x = self._norm(graph.node("Reshape", [x, heads]), name)
        return graph.node("Reshape", [x, graph.constant("joined", np.array([0, 0, -1]))])

    def _feed_forward(self, at: str, x: str) -> str:
        graph = self._graph
        gated = f"{at}ffn_gate.weight" in self._tensors
        names = [f"{at}ffn_gate", f"{at}ffn_up"] if gated else [f"{at}ffn_up"]  # Phi 3 stores both as one
        both = self._scheme.layers(graph, self._stacked(f"{at}ffn_gate_up", names), x)
        gate, up = graph.nodes("Split", [both], outputs=2, axis=-1, num_outputs=2)
        if self._kind in _GELU:
            gate = graph.node("FastGelu", [gate], domain=CONTRIB)
        else:
            gate = graph.node("QuickGelu", [gate], domain=CONTRIB, alpha=1.0)  # SiLU
        y = graph.node("Mul", [gate, up])
        return self._scheme.layers(graph, self._matrix(f"{at}ffn_down"), y)

    def _normed(self, hidden: str, added: str, name: str) -> tuple[str, str]:
        """(hidden + added, the same after the norm), which is the sum itself where the model has no norm here."""
        graph = self._graph
        added = self._scaled(added, self.model.residual_scale) if added else ""
        if name not in self._tensors:
            total = graph.node("Add", [hidden, added]) if added else hidden
            return total, total
        if not added:
            return hidden, self._norm(hidden, name)
        normed, _, _, total = graph.nodes(
            "SkipSimplifiedLayerNormalization",
            [hidden, added, self._weights(name)],
            outputs=[self._name(), "", "", self._name()],
            domain=CONTRIB,
            epsilon=self.model.norm_epsilon,
        )
        return total, normed

    def _name(self) -> str:
        return self._graph.fresh("normed")

    def _behind(self, y: str, name: str) -> str:
        return self._norm(y, name) if name in self._tensors else y

    def _norm(self, x: str, name: str) -> str:
        inputs = [x, self._weights(name)]
        return self._graph.node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=self.model.norm_epsilon)

    def _weights(self, name: str) -> str:
        return name if name in self._graph else self._graph.constant(name, self._vector(name))

    def _vector(self, name: str) -> "Floats":
        return vector(self._tensors[name], allow_nan=self._allow_nan)

    def _scaled(self, x: str, by: float | None) -> str:
        import numpy as np

        if by in (None, 0.0, 1.0):
            return x
        return self._graph.node("Mul", [x, self._graph.constant(f"times_{by!r}", np.array(by, np.float32))])

    def _matrix(self, name: str) -> Matrix:
        return self._stacked(name, [name])

    def _stacked(self, name: str, names: list[str]) -> Matrix:
        return Matrix(
            name=f"{name}.weight",
            parts=tuple(self._tensors[f"{n}.weight"] for n in names),
            bias=tuple(self._tensors[bias] for n in names if (bias := f"{n}.bias") in self._tensors),
            allow_nan=self._allow_nan,
        )
