"""Random decoders to time kernels with: few wide layers of one tensor type, and many narrow ones that cost only calls.

All layers are alike, down to their bytes, and nothing is quantised: a block of any type is random codes under a scale
that keeps numbers finite. What a kernel takes does not depend on the values. numpy and gguf are all that it needs.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...convert.fused import write as fused
from ...convert.onnx_options import OnnxOptions
from ...convert.quick_arrays import quick_writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

VOCABULARY, HEAD_DIM, CONTEXT = 64, 64, 512
#: tensor type -> where the float16 values of a block lie, in bytes, and how large they are (ggml-common.h, block_*)
_SCALES: Mapping[str, tuple[tuple[int, ...], float]] = {
    "Q8_0": ((0,), 2**-12),
    "Q6_K": ((208,), 2**-16),
    "Q5_K": ((0, 2), 2**-16),
    "Q4_K": ((0, 2), 2**-15),
    "Q4_0": ((0,), 2**-8),
    "Q3_K": ((108,), 2**-13),
    "Q2_K": ((80, 82), 2**-10),
    "Q5_1": ((0, 2), 2**-9),
    "Q5_0": ((0,), 2**-9),
    "Q4_1": ((0, 2), 2**-8),
}
FLOAT_TYPES = ("F16", "BF16", "F32")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a Llama whose heads have 64 elements each."""

    hidden: int
    kv_heads: int
    intermediate: int
    layers: int

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """GGUF's name of each matrix in a layer -> outputs, inputs."""
        kv = self.kv_heads * HEAD_DIM
        attention = {"attn_q": self.hidden, "attn_k": kv, "attn_v": kv, "attn_output": self.hidden}
        shapes = {name: (rows, self.hidden) for name, rows in attention.items()}
        shapes |= {name: (self.intermediate, self.hidden) for name in ("ffn_gate", "ffn_up")}
        return {**shapes, "ffn_down": (self.hidden, self.intermediate)}

    @property
    def layer_weights(self) -> int:
        """Weights of the matrices in one layer."""
        return sum(map(prod, self.matrices.values()))


WIDE = Shape(hidden=1024, kv_heads=4, intermediate=4096, layers=1)
MODEST = Shape(hidden=512, kv_heads=2, intermediate=2048, layers=1)  # for a board with little memory
NARROW = Shape(hidden=HEAD_DIM, kv_heads=1, intermediate=HEAD_DIM, layers=1)  # its products are next to nothing


def layer_for(n_bytes: float) -> Shape:
    """One layer of a model of so many bytes; in float32 a wide one takes 61 MB, and the engine a second copy."""
    return WIDE if n_bytes >= WIDE.layer_weights * 2 else MODEST


def of_size(n_bytes: float, bits_per_weight: float) -> Shape:
    """A model whose matrices take at least so many bytes, of two layers or more."""
    layer = layer_for(n_bytes)
    layers = -(-8 * n_bytes // (bits_per_weight * layer.layer_weights))
    return replace(layer, layers=max(2, int(layers)))


def write(container: str, type_: str, shape: Shape, target: Path) -> None:
    """A GGUF file with matrices of a tensor type, or a folder of an ONNX format, at `target`."""
    if container == "gguf":
        _write_gguf(target, type_, shape)
    else:
        _write_onnx(target, type_, shape)


def narrow_type(container: str, type_: str) -> str:
    """The type that a narrow model stands in with: a k-quant's block of 256 weights is longer than its rows."""
    return "Q8_0" if container == "gguf" and type_.endswith("_K") else type_


def bits_per_weight(container: str, type_: str) -> float:
    """Bits that a weight takes in a layer's matrices; of an ONNX format its name's."""
    if container == "onnx":
        return 32.0 if type_ == "onnx-fp32" else 8.0
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    n_weights, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_]]
    return 8 * n_bytes / n_weights


def _write_gguf(path: Path, type_: str, shape: Shape) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    writer = quick_writer(path, "llama")
    for key, value in _keys(shape).items():
        if isinstance(value, float):
            writer.add_float32(f"llama.{key}", value)
        else:
            writer.add_uint32(f"llama.{key}", value)
    writer.add_tokenizer_model("none")
    ones, kind = np.ones(shape.hidden, np.float32), GGMLQuantizationType[type_]
    matrices = {name: rows(type_, *lengths) for name, lengths in shape.matrices.items()}
    writer.add_tensor("token_embd.weight", _embedding(shape))
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name, data in matrices.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _keys(shape: Shape) -> dict[str, int | float]:
    return {
        "block_count": shape.layers,
        "context_length": CONTEXT,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.intermediate,
        "attention.head_count": shape.hidden // HEAD_DIM,
        "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": HEAD_DIM,
        "vocab_size": VOCABULARY,
    }


def rows(type_: str, n_rows: int, n_columns: int) -> "Bytes":
    """A matrix of the tensor type as its bytes [n_rows, bytes a row], all finite; a few rows, repeated."""
    import numpy as np

    generator, n_drawn = np.random.default_rng(0), min(n_rows, 64)
    if type_ in FLOAT_TYPES:
        values = generator.standard_normal((n_drawn, n_columns)).astype(np.float32) / n_columns**0.5
        drawn = values.view(np.uint32) >> 16 if type_ == "BF16" else values
        drawn = drawn.astype({"F16": np.float16, "BF16": np.uint16, "F32": np.float32}[type_]).view(np.uint8)
    else:
        drawn = _blocks(type_, n_drawn * n_columns, generator).reshape(n_drawn, -1)
    return np.resize(drawn, (n_rows, drawn.shape[1]))


def _blocks(type_: str, n_weights: int, generator: Any) -> "Bytes":
    """Random bytes but for the float16 values of each block."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    in_block, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_]]
    places, scale = _SCALES[type_]
    data: Bytes = generator.integers(0, 256, (n_weights // in_block, n_bytes), np.uint8)
    for place in places:
        data[:, place : place + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return data


def _embedding(shape: Shape) -> Any:
    import numpy as np

    return np.random.default_rng(1).standard_normal((VOCABULARY, shape.hidden)).astype(np.float32)


def _write_onnx(folder: Path, format_name: str, shape: Shape) -> None:
    """Through the format's own writer, from a checkpoint whose layers lie in the same bytes."""
    checkpoint = folder.with_name(f"{folder.name}.checkpoint")
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps(_config(shape)), encoding="utf-8")
    _write_weights(checkpoint / "model.safetensors", shape)
    job = {"folder": str(checkpoint), "target": str(folder), "format": format_name, "options": OnnxOptions().job()}
    fused.write({**job, "revision": "random"}, lambda said: None)


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": CONTEXT,
        "num_attention_heads": shape.hidden // HEAD_DIM,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,
    }


_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _write_weights(file: Path, shape: Shape) -> None:
    """model.safetensors in float16; every layer's tensors begin at almost the same places of the file.

    Each a weight further on than the last layer's: of matrices that are all alike onnxruntime keeps one copy, which a
    cache then holds (seen: 59 instead of 21 billion weights a second).
    """
    import numpy as np

    header: dict[str, Any] = {}
    embedding = _embedding(shape).astype(np.float16).tobytes()
    parts: list[tuple[str, bytes, tuple[int, ...]]] = [("model.embed_tokens", embedding, (VOCABULARY, shape.hidden))]
    parts += [("", np.ones(shape.hidden, np.float16).tobytes(), (shape.hidden,))]
    parts += [(_PARTS[name], rows("F16", *lengths).tobytes(), lengths) for name, lengths in shape.matrices.items()]
    at = 0
    for name, data, lengths in parts:
        for number, each in enumerate(_names(name, shape.layers)):
            start = at + 2 * number
            header[each] = {"dtype": "F16", "shape": list(lengths), "data_offsets": [start, start + len(data)]}
        at += len(data) + _further(data, shape)
    text = json.dumps(header).encode()
    whole = (data + data[: _further(data, shape)] for _, data, _ in parts)
    file.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *whole]))


def _further(data: bytes, shape: Shape) -> int:
    """Bytes that the last layer's tensor of a kind begins behind the first one's; the norms of a model are one kind."""
    return min(len(data), 2 * 2 * (shape.layers + 1))


def _names(part: str, n_layers: int) -> Iterator[str]:
    """The tensors that lie at one place: one of the model's own, a matrix of each layer, or ("") all norms."""
    if part.startswith("model."):
        yield f"{part}.weight"
        return
    if not part:
        yield "model.norm.weight"
    for layer in range(n_layers):
        for name in (part,) if part else ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight"
