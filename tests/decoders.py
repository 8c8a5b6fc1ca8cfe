"""Small random decoders of every supported architecture, in the variants that llama.cpp's graphs can express."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import small_checkpoint
from edgequant.convert.architectures.table import ARCHITECTURES

N_TOKENS = 200
_VOCABULARY = small_checkpoint.VOCABULARY
TOKENS = [(31 * n + n * n) % _VOCABULARY for n in range(N_TOKENS)]


def _without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


_SIZES: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "rms_norm_eps": 0.01,
}
LLAMA = _SIZES | {"num_key_value_heads": 2, "rope_theta": 500.0}
_NO_NORM = _without(LLAMA, "rms_norm_eps")
_LAYER_NORM = _NO_NORM | {"layer_norm_eps": 0.01}
_NEOX = _without(_LAYER_NORM, "rope_theta", "num_key_value_heads")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 4.0}
_WINDOW = 40
_EXPERTS = {
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
_GEMMA = LLAMA | {"head_dim": 32, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
_GEMMA2 = _GEMMA | {
    "sliding_window": _WINDOW,
    "query_pre_attn_scalar": 32,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 7.0,
    "layer_types": ["sliding_attention", "full_attention"],
}
_GEMMA3 = _GEMMA | {
    "sliding_window": _WINDOW,
    "query_pre_attn_scalar": 32,
    "rope_local_base_freq": 90.0,
    "layer_types": ["sliding_attention", "full_attention"],
}
_GPT2 = {
    "vocab_size": _VOCABULARY,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 96,
    "n_positions": 256,
    "layer_norm_epsilon": 0.01,
}
_PHI3 = LLAMA | {"pad_token_id": 0, "sliding_window": None}
_LONGROPE = {
    "type": "longrope",
    "long_factor": [1.0 + 0.3 * n for n in range(8)],
    "short_factor": [1.0 + 0.1 * n for n in range(8)],
}
_GPT_OSS = LLAMA | {
    "head_dim": 32,
    "num_local_experts": 5,
    "sliding_window": _WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_scaling": None,
}
_FALCON = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_hidden_size": 96,
    "max_position_embeddings": 256,
    "layer_norm_epsilon": 0.01,
    "rope_theta": 500.0,
    "bias": False,
    "parallel_attn": True,
    "alibi": False,
}
_LFM2 = _NO_NORM | {
    "num_hidden_layers": 3,
    "intermediate_size": 150,
    "norm_eps": 0.01,
    "block_multiple_of": 32,
    "conv_L_cache": 3,
    "layer_types": ["conv", "full_attention", "conv"],
}
#: the fourth layer has no rotary embedding
_SMOLLM3 = LLAMA | {"num_hidden_layers": 4, "rms_norm_eps": 0.1, "pad_token_id": 0}
_QWEN35 = LLAMA | {
    "num_hidden_layers": 2,
    "head_dim": 32,
    "partial_rotary_factor": 0.25,
    "rms_norm_eps": 1e-6,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "layer_types": ["linear_attention", "full_attention"],
}
_GEMMA4 = _without(_GEMMA, "rope_theta") | {
    "num_hidden_layers": 3,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": _WINDOW,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": _VOCABULARY,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "rope_theta": 500.0, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One model: transformers' class and configuration.

    `context` is how many tokens llama.cpp computes as transformers does; `gelu` where the activation is one, which
    llama.cpp takes from a table of half precision; `perturbed` are wrong values for keys that no rule invents;
    `dropped` are keys that transformers derives and that config.json need not have; `since` is the major version of
    transformers that has the class.
    """

    kind: str
    config: dict[str, Any]
    gelu: bool = False
    context: int = 256
    perturbed: dict[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    since: int = 4

    @property
    def limit(self) -> float:
        """How far logits may lie apart in float32, relative to their range."""
        return 2e-3 if self.gelu else 5e-5

    @property
    def chooses_experts(self) -> bool:
        """Whether a router leaves experts out: rounding then changes which, and the logits jump."""
        n_experts = self.config.get("num_experts", self.config.get("num_local_experts", 0))
        n_used = self.config.get("num_experts_per_tok", self.config.get("top_k_experts", 0))
        return n_used < n_experts

    @property
    def n_tokens(self) -> int:
        """How many tokens are compared."""
        return min(N_TOKENS, self.context)


def _d(kind: str, config: dict[str, Any], /, **more: Any) -> Decoder:
    names = ("gelu", "context", "perturbed", "dropped", "since")
    options = {key: more.pop(key) for key in names if key in more}
    return Decoder(kind=f"{kind}ForCausalLM", config=config | more, **options)


_QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": _WINDOW, "max_window_layers": 1}
_NONE_SLIDES = {"layer_types": ["full_attention"] * 2}
_SWAPPED = {"layer_types": ["full_attention", "sliding_attention"]}
DECODERS: dict[str, Decoder] = {
    "llama": _d("Llama", LLAMA),
    "llama-mha": _d("Llama", LLAMA, num_key_value_heads=4),
    "llama-mqa": _d("Llama", LLAMA, num_key_value_heads=1),
    "llama-tied": _d("Llama", LLAMA, tie_word_embeddings=True),
    "llama-3": _d("Llama", LLAMA, rope_scaling=LLAMA3),
    "llama-linear": _d("Llama", LLAMA, rope_scaling=LINEAR),
    "llama-yarn": _d("Llama", LLAMA, rope_scaling=YARN),
    "llama-yarn-factor": _d("Llama", LLAMA, rope_scaling=YARN | {"attention_factor": 0.7}),
    "llama-wide": _d("Llama", LLAMA, head_dim=32),
    "llama-biases": _d("Llama", LLAMA, attention_bias=True, mlp_bias=True),
    "mistral": _d("Mistral", LLAMA, sliding_window=None, head_dim=32),
    "mistral-window": _d("Mistral", LLAMA, sliding_window=_WINDOW, context=_WINDOW),
    "mixtral": _d("Mixtral", LLAMA, num_local_experts=5, num_experts_per_tok=2),
    "mixtral-window": _d("Mixtral", LLAMA, num_local_experts=3, num_experts_per_tok=2, sliding_window=_WINDOW,
                         context=_WINDOW),
    "mixtral-all": _d("Mixtral", LLAMA, num_local_experts=3, num_experts_per_tok=3),
    "qwen2": _d("Qwen2", LLAMA),
    "qwen2-tied": _d("Qwen2", LLAMA, tie_word_embeddings=True),
    "qwen2-yarn": _d("Qwen2", LLAMA, rope_scaling=YARN),
    "qwen2-window": _d("Qwen2", LLAMA, **_QWEN_WINDOW, context=_WINDOW, perturbed=_NONE_SLIDES),
    "qwen2-window-old": _d("Qwen2", LLAMA, **_QWEN_WINDOW, context=_WINDOW, dropped=("layer_types",),
                           perturbed={"max_window_layers": 2}),
    "qwen2-moe": _d("Qwen2Moe", LLAMA | _EXPERTS, shared_expert_intermediate_size=80),
    "qwen2-moe-window": _d("Qwen2Moe", LLAMA | _EXPERTS, **_QWEN_WINDOW, context=_WINDOW, perturbed=_NONE_SLIDES),
    "qwen2-moe-window-old": _d("Qwen2Moe", LLAMA | _EXPERTS, **_QWEN_WINDOW, context=_WINDOW, dropped=("layer_types",),
                               perturbed={"max_window_layers": 2}),
    "qwen2-moe-all": _d("Qwen2Moe", LLAMA | _EXPERTS, shared_expert_intermediate_size=80, num_experts_per_tok=5,
                        tie_word_embeddings=True),
    "qwen3": _d("Qwen3", LLAMA, head_dim=32),
    "qwen3-window": _d("Qwen3", LLAMA, **_QWEN_WINDOW, context=_WINDOW, perturbed=_NONE_SLIDES),
    "qwen3-window-old": _d("Qwen3", LLAMA, **_QWEN_WINDOW, context=_WINDOW, dropped=("layer_types",),
                           perturbed={"max_window_layers": 2}),
    "qwen3-tied": _d("Qwen3", LLAMA, head_dim=16, tie_word_embeddings=True),
    "qwen3-moe": _d("Qwen3Moe", LLAMA | _EXPERTS, head_dim=32, norm_topk_prob=True),
    "qwen3-moe-window": _d("Qwen3Moe", LLAMA | _EXPERTS, norm_topk_prob=True, **_QWEN_WINDOW, context=_WINDOW,
                           perturbed=_NONE_SLIDES),
    "qwen3-moe-all": _d("Qwen3Moe", LLAMA | _EXPERTS, norm_topk_prob=True, num_experts_per_tok=5),
    "gemma": _d("Gemma", _GEMMA, gelu=True),
    "gemma2": _d("Gemma2", _GEMMA2, gelu=True, perturbed=_SWAPPED),
    "gemma2-old": _d("Gemma2", _without(_GEMMA2, "layer_types"), gelu=True, dropped=("layer_types",)),
    "gemma3": _d("Gemma3", _GEMMA3, gelu=True, perturbed=_SWAPPED),
    "gemma3-linear": _d("Gemma3", _GEMMA3, gelu=True, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "gemma3-pattern": _d(
        "Gemma3", _without(_GEMMA3, "layer_types"), sliding_window_pattern=2, gelu=True, dropped=("layer_types",),
        perturbed={"sliding_window_pattern": 1},
    ),
    "gemma3-capped": _d("Gemma3", _GEMMA3, gelu=True, final_logit_softcapping=7.0),
    "gemma3-vision": Decoder(
        kind="Gemma3ForConditionalGeneration",
        config={"text_config": _GEMMA3, "vision_config": _VISION, "mm_tokens_per_image": 4,
                "image_token_index": 3, "boi_token_index": 1, "eoi_token_index": 2},
        gelu=True,
    ),
    "phi": _d("Phi", _LAYER_NORM, partial_rotary_factor=0.5, gelu=True),
    "phi-mha": _d("Phi", _LAYER_NORM, num_key_value_heads=4, partial_rotary_factor=0.25, gelu=True),
    "phi3": _d("Phi3", _PHI3),
    "phi3-partial": _d("Phi3", _PHI3, partial_rotary_factor=0.5, tie_word_embeddings=True),
    "phi3-window": _d("Phi3", _PHI3, sliding_window=_WINDOW, context=_WINDOW),
    "phi3-long": _d("Phi3", _PHI3, rope_scaling=_LONGROPE, original_max_position_embeddings=64),
    "phi3-short": _d(
        "Phi3", _PHI3, rope_scaling=_LONGROPE, original_max_position_embeddings=256, max_position_embeddings=1024,
        perturbed={"original_max_position_embeddings": 128},
    ),
    "gpt2": Decoder(kind="GPT2LMHeadModel", config=_GPT2, gelu=True),
    "gpt2-untied": Decoder(kind="GPT2LMHeadModel", config=_GPT2 | {"tie_word_embeddings": False}, gelu=True),
    "bigcode": _d("GPTBigCode", _GPT2, gelu=True),
    "bigcode-mha": _d("GPTBigCode", _GPT2, multi_query=False, gelu=True),
    "neox": _d("GPTNeoX", _NEOX,
               rotary_pct=0.5, rotary_emb_base=500, gelu=True),
    "neox-sequential": _d(
        "GPTNeoX", _NEOX,
        rotary_pct=0.25, rotary_emb_base=500, use_parallel_residual=False, tie_word_embeddings=True, gelu=True,
    ),
    "starcoder2": _d("Starcoder2", _NO_NORM, norm_epsilon=0.01, gelu=True),
    "starcoder2-window": _d("Starcoder2", _NO_NORM, norm_epsilon=0.01,
                            sliding_window=_WINDOW, tie_word_embeddings=True, context=_WINDOW, gelu=True),
    "stablelm": _d("StableLm", _LAYER_NORM, partial_rotary_factor=0.25, use_qkv_bias=True),
    "stablelm-12b": _d("StableLm", _LAYER_NORM, partial_rotary_factor=0.5, qk_layernorm=True,
                       use_parallel_residual=True),
    "stablelm-tied": _d("StableLm", _LAYER_NORM, tie_word_embeddings=True),
    "olmo": _d("Olmo", _NO_NORM),
    "olmo-linear": _d("Olmo", _NO_NORM, rope_scaling={"type": "linear", "factor": 4.0}),
    "olmo-clipped": _d("Olmo", _NO_NORM, clip_qkv=0.8, tie_word_embeddings=True),
    "olmo2": _d("Olmo2", LLAMA),
    "olmo2-linear": _d("Olmo2", LLAMA, rope_scaling={"type": "linear", "factor": 4.0}),
    "olmo2-tied": _d("Olmo2", LLAMA, tie_word_embeddings=True),
    "granite": _d("Granite", LLAMA, attention_multiplier=0.3, embedding_multiplier=1.7, logits_scaling=3.0,
                  residual_multiplier=0.6),
    "granite-biases": _d("Granite", LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                         attention_multiplier=0.25),
    "smollm3-mha": _d("SmolLM3", _SMOLLM3, num_key_value_heads=4),
    "smollm3": _d("SmolLM3", _SMOLLM3),
    "lfm2": _d("Lfm2", _LFM2, block_auto_adjust_ff_dim=False, perturbed={"layer_types": ["conv"] * 3}),
    "lfm2-adjusted": _d("Lfm2", _LFM2, head_dim=16, block_ffn_dim_multiplier=1.3, tie_word_embeddings=True),
    "qwen35": _d("Qwen3_5", _QWEN35, since=5,
                 perturbed={"layer_types": ["full_attention", "linear_attention"], "mrope_section": [0, 11, 11]}),
    "qwen35-even": _d("Qwen3_5", _QWEN35, since=5, dropped=("layer_types",), full_attention_interval=2,
                      linear_num_value_heads=2, tie_word_embeddings=True),
    "qwen35-vision": Decoder(
        kind="Qwen3_5ForConditionalGeneration", config={"text_config": _QWEN35, "vision_config": _VISION}, since=5,
    ),
    "gemma4": _d("Gemma4", _GEMMA4, since=5, gelu=True, final_logit_softcapping=7.0,
                 perturbed={"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    "gemma4-vision": Decoder(
        kind="Gemma4ForConditionalGeneration", since=5, gelu=True,
        config={"text_config": _GEMMA4, "audio_config": None, "vision_config": _without(_VISION, "image_size") |
                {"num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 64}},
    ),
    "gemma4-small": _d(
        "Gemma4", _GEMMA4, since=5, gelu=True, hidden_size_per_layer_input=8, use_double_wide_mlp=True,
        num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=2,
    ),
    "gemma4-large": _d("Gemma4", _GEMMA4, since=5, gelu=True, attention_k_eq_v=True, num_global_key_value_heads=1),
    "gemma4-moe": _d("Gemma4", _GEMMA4, since=5, gelu=True, enable_moe_block=True, num_experts=5, top_k_experts=2,
                     moe_intermediate_size=48),
    "gemma4-moe-all": _d("Gemma4", _GEMMA4, since=5, gelu=True, enable_moe_block=True, num_experts=5, top_k_experts=5,
                         moe_intermediate_size=48),
    "gpt-oss": _d("GptOss", _GPT_OSS, num_experts_per_tok=2, perturbed=_SWAPPED | {"intermediate_size": 95}),
    "gpt-oss-all": _d("GptOss", _GPT_OSS, num_experts_per_tok=5, tie_word_embeddings=True, rope_scaling=YARN),
    "falcon": _d("Falcon", _FALCON, multi_query=True, new_decoder_architecture=False, gelu=True),
    "falcon-mha": _d("Falcon", _FALCON, multi_query=False, new_decoder_architecture=False, gelu=True),
    "falcon-40b": _d("Falcon", _FALCON, new_decoder_architecture=True, num_kv_heads=2, gelu=True),
    "falcon-11b": _d("Falcon", _FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1,
                     tie_word_embeddings=False, gelu=True),
}  # fmt: skip


def _kind_of(scaling: dict[str, Any]) -> str:
    return str(scaling.get("rope_type", scaling.get("type", "default")))


def _scaled() -> dict[str, Decoder]:
    """The first decoder of each architecture that rotates, with every scaling that llama.cpp has for it."""
    found: dict[str, Decoder] = {}
    for name, decoder in DECODERS.items():
        others = [other for other in (DECODERS | found).values() if other.kind == decoder.kind]
        for scaling in (LINEAR, YARN, LLAMA3):
            said = [_kind_of(other.config.get("rope_scaling") or {}) for other in others]
            row = ARCHITECTURES[decoder.kind]
            if not row.nested and scaling["rope_type"] in row.rope and scaling["rope_type"] not in said:
                config = decoder.config | {"rope_scaling": scaling}
                if "head_dim" in row.reads:  # transformers' yarn multiplies by it, also where it is None
                    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
                found[f"{name}-{scaling['rope_type']}"] = replace(decoder, config=config)
    return found


#: the installed transformers' major version
TRANSFORMERS = int(version("transformers").partition(".")[0])
DECODERS |= _scaled()
#: architectures that only a newer transformers than the installed one has: left to `make test-new`
LEFT_OUT = {decoder.kind for decoder in DECODERS.values() if decoder.since > TRANSFORMERS}
COMPARED = {kind: row for kind, row in ARCHITECTURES.items() if kind not in LEFT_OUT}
DECODERS = {name: decoder for name, decoder in DECODERS.items() if decoder.since <= TRANSFORMERS}


def transformers_makes(job: dict[str, Any]) -> str:
    """What random_models.py prints."""
    script = Path(__file__).with_name("random_models.py")
    done = subprocess.run([sys.executable, script], input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
