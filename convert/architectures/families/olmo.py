"""OLMo, whose norms have no weights, and OLMo 2, which norms behind attention and MLP."""

from collections.abc import Mapping

from .. import naming
from ..expressible import whole_heads
from ..reading import LLAMA_DEFAULTS, LLAMA_READS, SILU
from ..row import Architecture

_OLMO_TENSORS = naming.without(naming.LLAMA, "norm")
_OLMO2_TENSORS = {**naming.without(naming.PLAIN, "layernorm"), **naming.POST_NORMS, **naming.WIDE_QK_NORMS}
ROWS: Mapping[str, Architecture] = {
    "OlmoForCausalLM": Architecture(
        gguf="olmo",
        tensors=_OLMO_TENSORS,
        reads={**{k: v for k, v in LLAMA_READS.items() if k != "rms_norm_eps"}, "clip_qkv": "clamp"},
        defaults={**LLAMA_DEFAULTS, "clip_qkv": None},
        must_equal={**SILU, "attention_bias": (False,)},
        rope=("default", "linear"),
        norm="layer",
        checks=(whole_heads,),
    ),
    "Olmo2ForCausalLM": Architecture(
        gguf="olmo2",
        tensors=_OLMO2_TENSORS,
        reads=LLAMA_READS,
        defaults={**LLAMA_DEFAULTS, "rms_norm_eps": 1e-5},
        must_equal={**SILU, "attention_bias": (False,)},
        rope=("default", "linear"),
        writes_head=True,
        checks=(whole_heads,),
    ),
}
