"""The checkpoints that conversions are timed on, made here: a real small model, and a large one of random weights."""

import json
import shutil
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgequant.convert import demo, gguf_source
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.gguf_header import read_header
from edgequant.convert.vocabulary import from_gguf
from edgequant.convert.weights import row_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.uint16]

Shapes = dict[str, tuple[int, ...]]

N_SHARDS = 4
#: Qwen2.5-1.5B's, as its config.json on the Hub has them
QWEN: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151_936,
}
#: Llama-3.2-1B's sizes; plain rotary embedding, because the scaled one makes no difference to what is measured here
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 128_256,
}
_POOL = 1 << 22  # random numbers that are drawn; tensors are cut from them at shifting places


def make_small(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in bfloat16, from the demo's GGUF; kept where it is there already."""
    if not folder.exists():
        full = folder.with_name(f"{folder.name}-float32")
        gguf_source.dequantise(demo.find(), full)
        partial = folder.with_name(f"{folder.name}-partial")
        shutil.copytree(full, partial, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
        tensors = open_folder(full, revision="none").tensors
        blocks = (_rounded(block) for tensor in tensors.values() for block in row_blocks(tensor))
        _write_shard(partial / "model.safetensors", {name: t.shape for name, t in tensors.items()}, blocks)
        _change_json(partial / "config.json", torch_dtype="bfloat16")
        partial.rename(folder)
        shutil.rmtree(full)
    return folder


def make_large(folder: Path, vocabulary: Path, *, config: dict[str, Any] = QWEN) -> Path:
    """A model of Qwen2.5-1.5B's shape in bfloat16, 3.1 GB in four shards; random weights of standard deviation 0.02.

    `vocabulary` is llama.cpp's models/ggml-vocab-qwen2.gguf, which becomes the tokenizer; `config` may have other
    sizes.
    """
    if not folder.exists():
        partial = _begin(folder, config)
        from_gguf.save(read_header(vocabulary).metadata, partial, context=config["max_position_embeddings"])
        _write_shards(partial, _shapes(config))
        partial.rename(folder)
    return folder


def make_llama(folder: Path, tokenizer: Path, *, layers: int = LLAMA["num_hidden_layers"]) -> Path:
    """A model of Llama-3.2-1B's shape in bfloat16, 2.5 GB in four shards; random weights of standard deviation 0.02.

    `tokenizer` is a checkpoint whose tokenizer it takes; tokens that this lacks have a row in the embedding alone.
    """
    if not folder.exists():
        config = LLAMA | {"num_hidden_layers": layers}
        partial = _begin(folder, config)
        for file in tokenizer.glob("tokenizer*"):
            shutil.copy2(file, partial / file.name)
        _write_shards(partial, _shapes(config))
        partial.rename(folder)
    return folder


def _begin(folder: Path, config: dict[str, Any]) -> Path:
    partial = folder.with_name(f"{folder.name}-partial")
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return partial


def _shapes(config: dict[str, Any]) -> Shapes:
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    kv = config["num_key_value_heads"] * (hidden // heads)
    parts = ("weight", "bias") if config["model_type"] == "qwen2" else ("weight",)
    shapes: Shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        start = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            shapes |= {f"{start}self_attn.{name}_proj.{x}": (rows, hidden)[: 2 - (x == "bias")] for x in parts}
        shapes |= {
            f"{start}self_attn.o_proj.weight": (hidden, hidden),
            f"{start}mlp.down_proj.weight": (hidden, inner),
        }
        shapes |= {f"{start}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes |= {f"{start}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,)}


def _write_shards(folder: Path, shapes: Shapes) -> None:
    total = 2 * sum(map(prod, shapes.values()))
    shards: list[Shapes] = [{} for _ in range(N_SHARDS)]
    done = 0
    for name, shape in shapes.items():
        shards[min(N_SHARDS - 1, done * N_SHARDS // total)][name] = shape
        done += 2 * prod(shape)
    where = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{N_SHARDS:05}.safetensors"
        where |= dict.fromkeys(shard, file)
        _write_shard(folder / file, shard, _random(shard))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _random(shapes: Shapes) -> Iterator["Bits"]:
    import numpy as np

    generator = np.random.default_rng(len(shapes))
    pool = _rounded(generator.standard_normal(_POOL, dtype=np.float32) * np.float32(0.02))
    for shape in shapes.values():
        left = prod(shape)
        while left:
            start = int(generator.integers(0, _POOL // 2))
            block = pool[start : start + left]
            left -= len(block)
            yield block


def _rounded(values: Any) -> "Bits":
    """Float32 to the bits of bfloat16, to nearest with ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _write_shard(path: Path, shapes: Shapes, blocks: Iterator["Bits"]) -> None:
    rows: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        rows[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + 2 * prod(shape)]}
        offset += 2 * prod(shape)
    text = json.dumps(rows).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for block in blocks:
            stream.write(block.data)


def _change_json(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")
