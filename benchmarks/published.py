"""Speeds that others published for small machines, and the configurations of the models they were measured with.

Nothing of the package is fitted to these rows; `plan.py` predicts them from configurations and profiles alone.
Configurations: the models' config.json on the Hub, without keys that decide no size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def _llama(
    hidden: int, layers: int, heads: int, kv_heads: int, width: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": width,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        **more,
    }


def _gemma4(
    hidden: int, layers: int, kv_heads: int, width: int, *, shared: int, wide: bool, period: int
) -> dict[str, Any]:
    kinds = (["sliding_attention"] * (period - 1) + ["full_attention"]) * (layers // period)
    return {
        "architectures": ["Gemma4ForCausalLM"],
        "model_type": "gemma4_text",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": kv_heads,
        "intermediate_size": width,
        "vocab_size": 262144,
        "vocab_size_per_layer_input": 262144,
        "hidden_size_per_layer_input": 256,
        "head_dim": 256,
        "global_head_dim": 512,
        "sliding_window": 512,
        "layer_types": kinds,
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": wide,
        "tie_word_embeddings": True,
    }


def _qwen35(hidden: int, width: int) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3_5ForCausalLM"],
        "model_type": "qwen3_5_text",
        "hidden_size": hidden,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "intermediate_size": width,
        "vocab_size": 248320,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 16,
        "linear_conv_kernel_dim": 4,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 6,
        "tie_word_embeddings": True,
    }


CONFIGS: Mapping[str, dict[str, Any]] = {
    "TinyLlama-1.1B": _llama(2048, 22, 32, 4, 5632, 32000),
    "Llama-3.2-3B": _llama(3072, 28, 24, 8, 8192, 128256, head_dim=128, tie_word_embeddings=True),
    "Llama-3.1-8B": _llama(4096, 32, 32, 8, 14336, 128256),
    "Llama-2-13B": _llama(5120, 40, 40, 40, 13824, 32000),
    "Gemma-4-E2B": _gemma4(1536, 35, 1, 6144, shared=20, wide=True, period=5),
    "Gemma-4-E4B": _gemma4(2560, 42, 2, 10240, shared=18, wide=False, period=6),
    "Qwen3.5-0.8B": _qwen35(1024, 3584),
    "Qwen3.5-2B": _qwen35(2048, 6144),
}


LLAMA_CPP = "llama.cpp"
#: why prefill of another engine is no part of the targets, while its decode is
OTHER_KERNELS = "its kernels for prompts, of 2024, are its own; decode counts: both read the weights once a token"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published figure: tokens/s of decode, of prefill where it was given, and where it stands."""

    device: str
    model: str
    format: str
    decode: float
    prefill: float | None = None
    source: str
    engine: str = LLAMA_CPP
    note: str = ""

    @property
    def prefill_counts(self) -> bool:
        """Whether its prefill is one of those that the targets are about (`OTHER_KERNELS`)."""
        return self.prefill is not None and self.engine == LLAMA_CPP


_OLLAMA = "Ollama, whose default is this format"
ROWS = (
    Row(device="rpi5-16gb", model="Llama-3.2-3B", format="Q4_K_M", decode=4.88, source="sbc-reviews#21", note=_OLLAMA),
    Row(device="rpi5-16gb", model="Llama-3.1-8B", format="Q4_K_M", decode=2.17, source="sbc-reviews#21", note=_OLLAMA),
    Row(device="rpi5-16gb", model="Llama-2-13B", format="Q4_0", decode=1.36, source="sbc-reviews#21", note=_OLLAMA),
    Row(device="rpi500plus-16gb", model="Llama-3.2-3B", format="Q4_K_M", decode=5.55, source="ai-benchmarks#24"),
    Row(device="rpi400-4gb", model="Llama-3.2-3B", format="Q4_K_M", decode=1.60, source="ai-benchmarks README"),
    Row(
        device="rpi5-16gb",
        model="Gemma-4-E2B",
        format="Q4_K_M",
        decode=6.44,
        prefill=31.98,
        source="potato-os/core#269",
    ),
    Row(
        device="rpi4-8gb", model="Gemma-4-E2B", format="Q4_K_M", decode=1.75, prefill=4.36, source="potato-os/core#269"
    ),
    Row(
        device="rpi5-16gb", model="Gemma-4-E4B", format="Q4_0", decode=2.79, prefill=18.86, source="potato-os/core#269"
    ),
    Row(device="rpi4-8gb", model="Gemma-4-E4B", format="Q4_0", decode=0.98, prefill=2.18, source="potato-os/core#269"),
    Row(
        device="rpi4-8gb", model="Qwen3.5-0.8B", format="IQ4_NL", decode=5.0, source="potato-os/core#141", note="about"
    ),
    Row(device="rpi4-8gb", model="Qwen3.5-2B", format="Q4_K_M", decode=2.4, source="potato-os/core#141", note="about"),
    Row(
        device="rpi5-16gb",
        model="TinyLlama-1.1B",
        format="Q8_0",
        decode=9.0,
        prefill=45.0,
        engine="llamafile 0.7",
        source="justine.lol, 2024",
    ),
    Row(
        device="rpi4-8gb",
        model="TinyLlama-1.1B",
        format="Q8_0",
        decode=3.0,
        prefill=10.0,
        engine="llamafile 0.7",
        source="justine.lol, 2024",
    ),
    Row(device="n150-16gb", model="Llama-3.2-3B", format="Q4_K_M", decode=9.06, source="ai-benchmarks README"),
    Row(
        device="n150-16gb", model="Llama-3.1-8B", format="Q4_K_M", decode=3.55, source="ai-benchmarks#12", note="R1-8B"
    ),
    Row(device="n100-16gb", model="Llama-3.1-8B", format="Q4_K_M", decode=3.01, prefill=6.53, source="normiebench#38"),
    Row(
        device="i3-1315u-8gb",
        model="Llama-3.2-3B",
        format="Q4_K_M",
        decode=11.05,
        prefill=28.67,
        source="sbc-reviews#107",
    ),
    Row(device="ryzen-ai-340-16gb", model="Llama-3.2-3B", format="Q4_K_M", decode=23.81, source="ai-benchmarks README"),
)
#: rows that are not predicted, and why
LEFT_OUT: Mapping[str, str] = {
    "Pi 5, Gemma-4-26B-A4B IQ4_NL": "a mixture of experts whose configuration is not at hand",
    "Radxa Dragon Q6A": "no profile of that board, and its eight threads run on three kinds of cores",
    "Orin Nano, Orin Nano Super": "measured on the GPU",
    "phones, LiteRT-LM and ExecuTorch": "other engines",
    "Pi 5 before the firmware's memory settings": "the same board with settings that a profile does not know",
}
