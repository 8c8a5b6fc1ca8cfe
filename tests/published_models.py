"""Models made by hand from published configurations, for what is worked out without any file."""

from __future__ import annotations

from typing import Any

from edgequant.convert import ladder
from edgequant.convert.architectures.geometry import Geometry
from edgequant.profiles.planning.model import Model


def geometry(n_layers: int, n_kv_heads: int, head_dim: int, **values: Any) -> Geometry:
    """Sizes with what a test does not care about filled in."""
    rest = {"hidden": 1024, "intermediate": 4096, "n_heads": 8, "vocabulary": 1000, "context": 8192}
    return Geometry(
        n_layers=n_layers,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        norm_epsilon=1e-5,
        rope_theta=1e4,
        rope_scaling={"rope_type": "default"},
        **{**rest, **values},
    )


def llama_3_2_3b() -> Model:
    """Llama-3.2-3B from its published config.json: 28 layers, 24 heads over 8 of 128, tied embeddings."""
    hidden, inner, vocabulary, kv = 3072, 8192, 128256, 1024
    tensors: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (vocabulary, hidden))]
    tensors += [("output_norm.weight", (hidden,)), ("rope_freqs.weight", (64,))]
    for layer in range(28):
        rows = {"attn_q": hidden, "attn_k": kv, "attn_v": kv, "attn_output": hidden, "ffn_gate": inner, "ffn_up": inner}
        tensors += [(f"blk.{layer}.{name}.weight", (n, hidden)) for name, n in rows.items()]
        tensors += [(f"blk.{layer}.ffn_down.weight", (hidden, inner))]
        tensors += [(f"blk.{layer}.{name}_norm.weight", (hidden,)) for name in ("attn", "ffn")]
    sizes = geometry(28, 8, 128, hidden=hidden, intermediate=inner, n_heads=24, vocabulary=vocabulary)
    return Model(sizes=sizes, decoder=ladder.Decoder(n_layers=28, n_heads=24, n_kv_heads=8), tensors=tensors)
