"""A checkpoint written as an unquantised GGUF file, in blocks of rows."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import Error, __version__
from .architectures import table as architectures
from .architectures.table import Geometry
from .atomic import replacing
from .checkpoint import Checkpoint, TensorInfo, open_folder
from .vocabulary.from_checkpoint import read_vocabulary, write_vocabulary
from .vocabulary.from_gguf import Vocabulary
from .weights import row_blocks

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

_LARGEST = {"F32": 3.4028234663852886e38, "F16": 65504.0, "BF16": 3.3895313892515355e38}
_QUANTISATION_VERSION = 2  # ggml's GGML_QNT_VERSION: the layout of k-quants since 2023


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Convert `job["folder"]` to `job["target"]` in the float format `job["format"]`; nothing is left on failure."""
    checkpoint = open_folder(Path(job["folder"]), source=job["source"], name=job["name"], revision=job["revision"])
    architectures.check_config(checkpoint)
    names = architectures.gguf_names(checkpoint)
    vocabulary = read_vocabulary(checkpoint)
    with replacing(Path(job["target"])) as partial:
        _write_file(partial, checkpoint, vocabulary, names=names, dtype=job["format"], progress=progress)


def _write_file(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    *,
    names: Mapping[str, str],
    dtype: str,
    progress: Callable[[str], None],
) -> None:
    from gguf import GGUFWriter

    row, sizes = architectures.find(checkpoint), architectures.geometry(checkpoint)
    writer = GGUFWriter(path, row.gguf)
    _add_metadata(writer, checkpoint, sizes, dtype)
    write_vocabulary(vocabulary, writer, n_tokens=sizes.vocabulary)
    factors = _rope_factors(sizes)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for theirs, ours in names.items():
        _declare(writer, ours, checkpoint.tensors[theirs], dtype)
    with ExitStack() as stack:
        stack.callback(writer.close)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        stream = writer.fout[0]
        _pad(stream, writer.data_alignment)
        if factors is not None:
            stream.write(factors.tobytes())
            _pad(stream, writer.data_alignment)
        for done, (theirs, ours) in enumerate(names.items()):
            progress(f"{done + 1} of {len(names)} tensors")
            n_heads = _rotary_heads(row, ours, sizes)
            _write_tensor(stream, checkpoint.tensors[theirs], dtype=_stored_as(ours, dtype), rotary_heads=n_heads)
            _pad(stream, writer.data_alignment)


def _add_metadata(writer: "GGUFWriter", checkpoint: Checkpoint, sizes: Geometry, dtype: str) -> None:
    from gguf import LlamaFileType

    file_types = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16"}
    writer.add_name(checkpoint.name)
    writer.add_file_type(LlamaFileType[file_types[dtype]])
    writer.add_quantization_version(_QUANTISATION_VERSION)
    writer.add_string("edgequant.version", __version__)
    writer.add_string("edgequant.revision", checkpoint.revision)
    writer.add_block_count(sizes.n_layers)
    writer.add_context_length(sizes.context)
    writer.add_embedding_length(sizes.hidden)
    writer.add_feed_forward_length(sizes.intermediate)
    writer.add_head_count(sizes.n_heads)
    writer.add_head_count_kv(sizes.n_kv_heads)
    writer.add_key_length(sizes.head_dim)
    writer.add_value_length(sizes.head_dim)
    writer.add_layer_norm_rms_eps(sizes.norm_epsilon)
    writer.add_rope_dimension_count(sizes.head_dim)
    writer.add_rope_freq_base(sizes.rope_theta)
    writer.add_vocab_size(sizes.vocabulary)
    _add_rope_scaling(writer, sizes.rope_scaling)


def _add_rope_scaling(writer: "GGUFWriter", scaling: Mapping[str, Any]) -> None:
    from gguf import RopeScalingType

    kind = scaling["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(_constant(scaling, "factor"))
    elif kind not in ("default", "llama3"):  # llama3 travels as a tensor of factors
        raise Error(f"config.json: rope scaling {kind!r} is not supported", hint="supported: default, linear, llama3")


def _rope_factors(sizes: Geometry) -> "NDArray[np.float32] | None":
    """Divisors of the rotary frequencies [head_dim / 2] for Llama 3.1's scaling, None for other kinds.

    Source: Llama 3.1's reference code, as transformers' modeling_rope_utils describes it: long wavelengths are
    divided by `factor`, short ones kept, those between interpolated.
    """
    import numpy as np

    scaling = sizes.rope_scaling
    if scaling["rope_type"] != "llama3":
        return None
    factor, original = _constant(scaling, "factor"), _constant(scaling, "original_max_position_embeddings")
    low, high = _constant(scaling, "low_freq_factor"), _constant(scaling, "high_freq_factor")
    exponents = np.arange(0, sizes.head_dim, 2, dtype=np.float64) / sizes.head_dim
    turns = original / (2 * np.pi * sizes.rope_theta**exponents)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - kept) / factor + kept)).astype(np.float32)


def _constant(scaling: Mapping[str, Any], key: str) -> float:
    try:
        return float(scaling[key])
    except (KeyError, TypeError, ValueError):
        raise Error(f"config.json: rope scaling {scaling['rope_type']!r} has no number {key}") from None


def _stored_as(name: str, dtype: str) -> str:
    """llama.cpp keeps vectors in float32 whatever the file's type."""
    return "F32" if "_norm." in name or name.endswith(".bias") else dtype


def _declare(writer: "GGUFWriter", name: str, tensor: TensorInfo, dtype: str) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    stored = _stored_as(name, dtype)
    n_bytes = tensor.n_elements * (4 if stored == "F32" else 2)
    writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), n_bytes, GGMLQuantizationType[stored])


def _pad(stream: BinaryIO, alignment: int) -> None:
    stream.write(b"\0" * (-stream.tell() % alignment))


def _rotary_heads(row: architectures.Architecture, name: str, sizes: Geometry) -> int:
    """Number of heads whose rows are to be permuted, 0 for a tensor that stays as it is."""
    if not row.interleaved_rotary:
        return 0
    return {"attn_q": sizes.n_heads, "attn_k": sizes.n_kv_heads}.get(name.split(".")[-2], 0)


def _write_tensor(stream: BinaryIO, tensor: TensorInfo, *, dtype: str, rotary_heads: int) -> None:
    head_rows = tensor.shape[0] // rotary_heads if rotary_heads else 1
    for block in row_blocks(tensor, multiple_of=head_rows):
        rows = interleave_rotary(block, head_rows) if rotary_heads else block
        stream.write(encode(rows, dtype, name=tensor.name))


def interleave_rotary(rows: "NDArray[np.float32]", head_rows: int) -> "NDArray[np.float32]":
    """Order each head's rows (i, i + half) as neighbours: transformers rotates halves, llama.cpp's graph pairs.

    Rows [n x head_rows, row length]; the same holds for a bias as a column.
    """
    heads = rows.reshape(-1, 2, head_rows // 2, rows.shape[-1])
    return heads.swapaxes(1, 2).reshape(rows.shape)


def encode(rows: "NDArray[np.float32]", dtype: str, *, name: str) -> bytes:
    """Float32 values as the bytes of F32, F16 or BF16; `Error` for values that the type cannot hold."""
    import numpy as np

    if not np.isfinite(rows).all():
        raise Error(f"the tensor {name} holds values that are no finite numbers")
    if np.abs(rows).max(initial=0.0) > _LARGEST[dtype]:
        raise Error(f"the tensor {name} holds values beyond the range of {dtype}", hint="convert to another float type")
    if dtype == "F32":
        return rows.astype("<f4").tobytes()
    if dtype == "F16":
        return rows.astype("<f2").tobytes()
    bits = np.ascontiguousarray(rows, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to nearest, ties to even
    return bytes(rounded.astype("<u2").data)
