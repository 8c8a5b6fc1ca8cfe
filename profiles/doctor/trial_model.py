"""A small random model to try kernels on: a checkpoint of one layer, made in a folder of its own with numpy alone."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...convert import gguf_quantise, gguf_write, safetensors_writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

HIDDEN = 256  # a block of the k-quants: llama.cpp takes other types for shorter rows
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 64
VOCABULARY, CONTEXT = 259, 128  # every byte, one merge, a beginning and an end
FOLDER, FLOATS = "checkpoint", "F16"
#: tensor type -> the file type of llama.cpp (include/llama.h, enum llama_ftype) that stores most matrices so
FILE_TYPES: Mapping[str, int] = {
    "Q8_0": 7,
    "Q4_0": 2,
    "Q4_K": 14,
    "Q5_K": 16,
    "Q6_K": 18,
    "Q3_K": 11,
    "Q2_K": 10,
    "Q5_1": 9,
    "Q5_0": 8,
    "Q4_1": 3,
}
_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": HIDDEN,
    "max_position_embeddings": CONTEXT,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 1,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": VOCABULARY,
}


def make(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, str]:
    """Write the checkpoint and a GGUF of every tensor type into `job["folder"]`; tensor type -> its file.

    Behind the fence: llama.cpp quantises. `Error` where it cannot.
    """
    folder = Path(job["folder"])
    write_checkpoint(folder / FOLDER)
    paths = {FLOATS: folder / "F16.gguf"}
    stated = {"source": "random", "name": "random", "revision": "", "format": FLOATS}
    gguf_write.write({**stated, "folder": str(folder / FOLDER), "target": str(paths[FLOATS])}, progress)
    for name, ftype in FILE_TYPES.items():
        paths[name] = folder / f"{name}.gguf"
        wanted = {"source": str(paths[FLOATS]), "target": str(paths[name]), "ftype": ftype, "threads": 1}
        gguf_quantise.quantise(wanted, progress)
    return {name: str(path) for name, path in paths.items()}


def write_checkpoint(folder: Path) -> None:
    """config.json, random float32 weights, and a tokenizer of bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    special = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
    safetensors_writer.write(folder / "model.safetensors", _weights())


def _weights() -> list[safetensors_writer.TensorToWrite]:
    q, kv, at = (HEADS * HEAD_DIM, HIDDEN), (KV_HEADS * HEAD_DIM, HIDDEN), "model.layers.0."
    square = (HIDDEN, HIDDEN)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    shapes |= {f"{at}self_attn.{part}_proj.weight": q if part in "qo" else kv for part in "qkvo"}
    shapes |= {f"{at}mlp.{part}_proj.weight": square for part in ("gate", "up", "down")}
    norms = (f"{at}input_layernorm", f"{at}post_attention_layernorm", "model.norm")
    shapes |= {f"{norm}.weight": (HIDDEN,) for norm in norms}
    return [
        safetensors_writer.TensorToWrite(name=name, shape=shape, blocks=_drawn(shape, seed))
        for seed, (name, shape) in enumerate(shapes.items())
    ]


def _drawn(shape: tuple[int, ...], seed: int) -> "Callable[[], Iterator[Floats]]":
    """Normal weights that keep what passes through them as large as it was; those of a norm are one."""

    def blocks() -> "Iterator[Floats]":
        import numpy as np

        values = np.random.default_rng(seed).standard_normal(shape) / HIDDEN**0.5
        yield (values if len(shape) > 1 else np.ones(shape)).astype(np.float32)

    return blocks


def _tokenizer() -> dict[str, Any]:
    """tokenizer.json: a byte-level one of one merge, in GPT-2's way of writing bytes as letters."""
    shown = [chr(n) for n in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))]
    letters = [*shown, *(chr(256 + n) for n in range(256 - len(shown)))]
    vocabulary = {token: n for n, token in enumerate([*letters, "th", "<s>", "</s>"])}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[token], "content": token, **flags} for token in ("<s>", "</s>")],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h"]},
    }
