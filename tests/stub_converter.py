"""Stands for llama.cpp's convert_hf_to_gguf.py in tests: a small Llama, written with the gguf package alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TYPES = {kind.name.lower(): kind for kind in gguf.GGMLQuantizationType if kind.name in ("F32", "F16", "BF16")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--outfile", type=Path)
    parser.add_argument("--outtype")
    asked = parser.parse_args()
    config = json.loads((asked.model / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(asked.outfile, "llama")
    describe(writer, config)
    vocabulary(writer, json.loads((asked.model / "tokenizer.json").read_text(encoding="utf-8")), config)
    chat = json.loads((asked.model / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    writer.add_chat_template(chat)
    for name, values in load_file(asked.model / "model.safetensors").items():
        values = interleaved(values, config) if "q_proj" in name or "k_proj" in name else values
        kind = TYPES["f32" if values.ndim == 1 else asked.outtype]
        with np.errstate(over="ignore"):  # as the real one casts
            writer.add_tensor(renamed(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def vocabulary(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    added = {row["id"]: row for row in tokenizer["added_tokens"]}
    ids = {n: text for text, n in tokenizer["model"]["vocab"].items()} | {n: row["content"] for n, row in added.items()}
    tokens = [ids.get(n, f"[PAD{n}]") for n in range(config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    kinds = [(3 if added[n]["special"] else 4) if n in added else 1 if n in ids else 5 for n in range(len(tokens))]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    by_text = {row["content"]: n for n, row in added.items()}
    writer.add_bos_token_id(by_text["<|start|>"])
    writer.add_eos_token_id(by_text["<|end|>"])
    writer.add_add_bos_token(False)


def interleaved(values: Any, config: dict[str, Any]) -> Any:
    """Rows of a head in pairs instead of halves."""
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    return values.reshape(-1, 2, half, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def renamed(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    return f"{names[name.removesuffix('.weight')]}.weight"


if __name__ == "__main__":
    main()
