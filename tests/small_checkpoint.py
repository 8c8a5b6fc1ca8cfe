"""Small checkpoints with random weights, written with the safetensors and tokenizers packages alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCABULARY = 32, 48, 4, 2, 8, 2, 320
DTYPES: Mapping[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
_LEARNT_FROM = ["the cat sat on the mat, and the dog ran to the house", "one two three four, 12 + 34 = 46"] * 4

SPACE = "▁"
PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": 256,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": VOCABULARY,
}


def config(**changes: Any) -> dict[str, Any]:
    """The configuration with keys changed; a value of None leaves the key out."""
    values = {**CONFIG, **changes}
    return {key: value for key, value in values.items() if not (key in changes and value is None)}


def tensors(*, tied: bool = True, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random float32 weights of a Llama with the sizes above; norms are not all one."""
    draw = np.random.default_rng(seed).standard_normal
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    if not tied:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        shapes |= {f"{start}self_attn.q_proj.weight": (q, HIDDEN), f"{start}self_attn.o_proj.weight": (HIDDEN, q)}
        shapes |= {f"{start}self_attn.{x}_proj.weight": (kv, HIDDEN) for x in "kv"}
        shapes |= {f"{start}mlp.{x}_proj.weight": (INTERMEDIATE, HIDDEN) for x in ("gate", "up")}
        shapes |= {f"{start}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE)}
        shapes |= {f"{start}{x}_layernorm.weight": (HIDDEN,) for x in ("input", "post_attention")}
    return {name: (draw(shape) * 0.2 + (len(shape) == 1)).astype(np.float32) for name, shape in shapes.items()}


def write(
    folder: Path,
    *,
    config: Mapping[str, Any] = CONFIG,
    tensors: Mapping[str, NDArray[Any]] | None = None,
    dtype: str = "F32",
    n_shards: int = 1,
) -> Path:
    """Write a whole checkpoint: configuration, weights in one file or in shards with their index, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    given = globals()["tensors"]() if tensors is None else tensors
    write_weights(folder, {name: values.astype(DTYPES[dtype]) for name, values in given.items()}, n_shards=n_shards)
    write_tokenizer(folder)
    return folder


def write_weights(folder: Path, tensors: Mapping[str, NDArray[Any]], *, n_shards: int = 1) -> None:
    """model.safetensors, or shards with an index as transformers names them."""
    if n_shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    files = {f"model-{n + 1:05}-of-{n_shards:05}.safetensors": names[n::n_shards] for n in range(n_shards)}
    for file, its_names in files.items():
        save_file({name: tensors[name] for name in its_names}, folder / file, metadata={"format": "pt"})
    where = {name: file for file, its_names in files.items() for name in its_names}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of the kind that llama.cpp calls "smollm", with a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(byte_level(), encoding="utf-8")
    special = {"bos_token": "<|start|>", "eos_token": "<|end|>", "chat_template": TEMPLATE}
    special |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(folder / "tokenizer_config.json", special)


@cache
def byte_level() -> str:
    """tokenizer.json: 256 bytes, a few merges, two special tokens and one that is not; the last ids stay unused."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 15, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_LEARNT_FROM, trainer)
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    text: str = tokenizer.to_str()
    return text


def sentencepiece(**changes: Any) -> dict[str, Any]:
    """A tokenizer.json with the tokens <unk> <s> </s>, all bytes, ▁ a b ab ▁ab ▁a x and an added <user>."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        SPACE,
        "a",
        "b",
        "ab",
        SPACE + "ab",
        SPACE + "a",
        "x",
    ]
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = [{"id": n, "content": pieces[n], "special": True, **flags} for n in range(3)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*added, {"id": len(pieces), "content": "<user>", "special": False, **flags}],
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "fuse_unk": True,
            "vocab": {piece: n for n, piece in enumerate(pieces)},
            "merges": [["a", "b"], [SPACE, "ab"], [SPACE + "a", "b"]],
        },
        **changes,
    }


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def change_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; a value of None removes the key."""
    values = {**read_json(path), **changes}
    write_json(path, {key: value for key, value in values.items() if not (key in changes and value is None)})
