"""The unquantised GGUF holds the checkpoint's numbers in llama.cpp's order, and every key that its graph needs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import small_checkpoint
from edgequant import Error
from edgequant.convert import floats, gguf_write
from edgequant.convert.architectures import rope
from edgequant.convert.architectures.geometry import geometry
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.gguf_header import GgufHeader, read_header

NUMPY: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
LARGEST_BF16 = (2 - 2**-7) * 2.0**127


def encode(values: Any, dtype: str) -> NDArray[Any]:
    data = floats.encode(np.asarray(values, dtype=np.float32), dtype, name="t")
    return np.frombuffer(data, dtype=NUMPY[dtype])


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_numbers_are_rounded_as_numpy_rounds_them(dtype: str) -> None:
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 100_000, dtype=np.uint32)
    anything = bits.view(np.float32)
    with np.errstate(invalid="ignore"):  # comparing signalling NaNs
        anything = anything[np.abs(anything) < (6e4 if dtype == "F16" else 3e38)]
    ordinary = generator.standard_normal((100, 64)).astype(np.float32)
    for values in (ordinary, anything, ordinary * 1e-6, ordinary * 1e-39, np.zeros(3, np.float32)):
        expected = values.astype(NUMPY[dtype])
        np.testing.assert_array_equal(encode(values, dtype), expected.ravel())


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        # BF16 keeps 7 bits after the point: between 1 and 2 its step is 2**-7, a tie lies at 2**-8
        ("BF16", [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 1 + 2**-8 - 2**-20], [1, 1 + 2**-6, 1 + 2**-7, 1]),
        ("BF16", [-(1 + 2**-8), -(1 + 3 * 2**-8), -0.0, 2 - 2**-9], [-1, -(1 + 2**-6), -0.0, 2]),
        # F16 keeps 10
        ("F16", [1 + 2**-11, 1 + 3 * 2**-11, 65504.0, 2**-25, 3 * 2**-25], [1, 1 + 2**-9, 65504.0, 0, 2**-23]),
    ],
)
def test_ties_go_to_even(dtype: str, values: list[float], expected: list[float]) -> None:
    encoded = encode(values, dtype).astype(np.float64)
    assert encoded.tolist() == expected
    assert np.signbit(encoded).tolist() == np.signbit(expected).tolist()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(dtype: str, value: float) -> None:
    with pytest.raises(Error, match="the tensor t holds values that are no finite numbers"):
        encode([1.0, value], dtype)


@pytest.mark.parametrize(("dtype", "value"), [("F16", 65505.0), ("F16", -1e5), ("BF16", 3.4e38), ("BF16", -3.4e38)])
def test_values_beyond_the_range_are_refused(dtype: str, value: float) -> None:
    with pytest.raises(Error, match=f"beyond the range of {dtype}") as caught:
        encode([1.0, value], dtype)
    assert caught.value.hint
    assert encode([65504.0, -LARGEST_BF16 if dtype == "BF16" else 1.0], dtype).shape == (2,)


def job(folder: Path, target: Path, *, format: str = "F16") -> dict[str, Any]:
    return {
        "folder": str(folder),
        "target": str(target),
        "format": format,
        "source": "s",
        "name": "n",
        "revision": "r1",
    }


def write(folder: Path, *, format: str = "F16") -> Path:
    target = folder.parent / f"{folder.name}-{format}.gguf"
    gguf_write.write(job(folder, target, format=format), lambda text: None)
    return target


def in_pairs(rows: NDArray[Any], *, n_heads: int) -> NDArray[Any]:
    """Row i and row i + half of each head become neighbours."""
    head_rows, order = len(rows) // n_heads, []
    for head in range(n_heads):
        for i in range(head_rows // 2):
            order += [head * head_rows + i, head * head_rows + i + head_rows // 2]
    return rows[order]


@pytest.mark.parametrize("format", ["F32", "F16", "BF16"])
def test_every_tensor_is_in_its_place(tmp_path: Path, format: str) -> None:
    weights = small_checkpoint.tensors(tied=False)
    folder = small_checkpoint.write(
        tmp_path / "m", config=small_checkpoint.config(tie_word_embeddings=False), tensors=weights, n_shards=2
    )
    reader = gguf.GGUFReader(write(folder, format=format))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(weights) == 21
    expected = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output.weight": weights["lm_head.weight"],
        "blk.1.attn_q.weight": in_pairs(weights["model.layers.1.self_attn.q_proj.weight"], n_heads=4),
        "blk.0.attn_k.weight": in_pairs(weights["model.layers.0.self_attn.k_proj.weight"], n_heads=2),
        "blk.0.attn_v.weight": weights["model.layers.0.self_attn.v_proj.weight"],
        "blk.1.ffn_down.weight": weights["model.layers.1.mlp.down_proj.weight"],
    }
    for name, values in expected.items():
        assert tensors[name].tensor_type.name == format
        data = tensors[name].data.view(NUMPY[format]).astype(np.float32)
        np.testing.assert_array_equal(data, values.astype(NUMPY[format]).astype(np.float32))
    norm = tensors["blk.1.ffn_norm.weight"]
    assert norm.tensor_type.name == "F32"
    np.testing.assert_array_equal(norm.data, weights["model.layers.1.post_attention_layernorm.weight"])


def test_metadata(tmp_path: Path) -> None:
    config = small_checkpoint.config(head_dim=8, rope_theta=123.0, rope_scaling={"type": "linear", "factor": 4.0})
    header = read_header(write(small_checkpoint.write(tmp_path / "m", config=config)))
    expected = {
        "general.architecture": "llama",
        "general.name": "n",
        "general.file_type": 1,
        "edgequant.revision": "r1",
        "llama.block_count": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 48,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 8,
        "llama.attention.value_length": 8,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
        "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 123.0,
        "llama.rope.scaling.type": "linear",
        "llama.rope.scaling.factor": 4.0,
        "llama.vocab_size": 320,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.chat_template": small_checkpoint.TEMPLATE,
    }
    assert {key: header.metadata[key] for key in expected} == expected


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_llama3_factors_worked_by_hand(tmp_path: Path) -> None:
    """Wavelengths 2 pi theta**(i / 4): 6.28, 167.1, 4442.9 and 118140 for theta 500000.

    In 8192 positions they turn 1304, 49.0, 1.843848 and 0.069 times: kept, kept, interpolated by
    (1.843848 - 1) / (4 - 1) = 0.2812827, and divided by 8.
    """
    config = small_checkpoint.config(rope_theta=500000.0, rope_scaling=LLAMA3)
    file = write(small_checkpoint.write(tmp_path / "m", config=config))
    first = gguf.GGUFReader(file).tensors[0]
    assert (first.name, first.tensor_type.name) == ("rope_freqs.weight", "F32")
    between = 1 / ((1 - 0.2812827) / 8 + 0.2812827)
    np.testing.assert_allclose(first.data, [1, 1, between, 8], rtol=1e-6)
    assert "llama.rope.scaling.type" not in read_header(file).metadata


@pytest.mark.slow
@pytest.mark.parametrize(("theta", "head_dim", "factor"), [(500000.0, 64, 32.0), (500000.0, 128, 8.0), (1e4, 16, 3.5)])
def test_llama3_factors_as_transformers_computes_them(
    tmp_path: Path, theta: float, head_dim: int, factor: float
) -> None:
    scaling = {**LLAMA3, "factor": factor}
    script = f"""
import json
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
config = LlamaConfig(rope_theta={theta}, head_dim={head_dim}, rope_scaling={scaling})
scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
plain = [{theta} ** (-2 * i / {head_dim}) for i in range({head_dim} // 2)]
print(json.dumps([p / s for p, s in zip(plain, scaled.tolist())]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    config = small_checkpoint.config(rope_theta=theta, head_dim=head_dim, rope_scaling=scaling)
    model = geometry(open_folder(small_checkpoint.write(tmp_path / "m", config=config)))
    (factors,) = rope.tensors(model).values()
    np.testing.assert_allclose(factors, json.loads(done.stdout), rtol=1e-5)


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"rope_type": "longrope", "factor": 4.0}, "'longrope' is not supported"),
        ({"type": "dynamic", "factor": 2.0}, "'dynamic' is not supported"),
        ({"rope_type": "linear"}, "has no number factor"),
        ({**LLAMA3, "low_freq_factor": None}, "has no number low_freq_factor"),
    ],
)
def test_rope_scaling_that_cannot_be_written(tmp_path: Path, scaling: dict[str, Any], said: str) -> None:
    folder = small_checkpoint.write(tmp_path / "m", config=small_checkpoint.config(rope_scaling=scaling))
    with pytest.raises(Error, match=said):
        write(folder)
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_nothing_is_left_of_a_file_that_fails_in_the_middle(tmp_path: Path) -> None:
    weights = small_checkpoint.tensors()
    weights["model.layers.1.mlp.down_proj.weight"][3, 3] = np.nan
    folder, target = small_checkpoint.write(tmp_path / "m", tensors=weights), tmp_path / "out" / "x.gguf"
    with pytest.raises(Error, match="no finite numbers"):
        gguf_write.write(job(folder, target), lambda text: None)
    assert list(target.parent.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    folder, target = small_checkpoint.write(tmp_path / "m"), tmp_path / "out" / "x.gguf"
    target.parent.mkdir()
    target.write_bytes(b"old")
    seen: list[str] = []

    def watch(text: str) -> None:
        seen.append(text)
        assert target.read_bytes() == b"old"
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gguf_write.write(job(folder, target), watch)
    assert [file.name for file in target.parent.iterdir()] == ["x.gguf"] and target.read_bytes() == b"old"
    assert seen[0] == "1 of 20 tensors"
    gguf_write.write(job(folder, target), lambda text: None)
    assert [file.name for file in target.parent.iterdir()] == ["x.gguf"] and target.read_bytes()[:4] == b"GGUF"


def test_a_vocabulary_larger_than_the_embedding(tmp_path: Path) -> None:
    weights = small_checkpoint.tensors()
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:100]
    folder = small_checkpoint.write(tmp_path / "m", config=small_checkpoint.config(vocab_size=100), tensors=weights)
    with pytest.raises(Error, match="tokens, the embedding 100 rows"):
        write(folder)


# -- the header, read by our own reader and by the gguf package's


def same_header(file: Path) -> GgufHeader:
    ours, theirs = read_header(file), gguf.GGUFReader(file)
    known = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.metadata == known
    assert [(t.name, t.shape, t.type, t.n_bytes, t.n_elements) for t in ours.tensors] == [
        (t.name, tuple(t.shape.tolist()[::-1]), t.tensor_type.name, t.n_bytes, t.n_elements) for t in theirs.tensors
    ]
    return ours


def test_the_header_as_the_gguf_package_reads_it(tmp_path: Path) -> None:
    header = same_header(write(small_checkpoint.write(tmp_path / "m")))
    assert len(header.tensors) == 20 and len(header.metadata["tokenizer.ggml.tokens"]) == 320


@pytest.fixture
def every_kind(tmp_path: Path) -> Path:
    """A file with every kind of metadata value and several kinds of tensors."""
    writer = gguf.GGUFWriter(tmp_path / "kinds.gguf", "none")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_uint32("u32", 2**32 - 1)
    writer.add_int32("i32", -(2**31))
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_bool("no", False)
    writer.add_string("text", "▁é 🙂")
    writer.add_array("texts", ["", "a", "ab"])
    writer.add_array("floats", [0.5, -1.5])
    writer.add_array("integers", [1, -2, 3])
    writer.add_array("booleans", [True, False])
    values = np.ones((3, 256), dtype=np.float32)
    for type_ in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"):
        kind = gguf.GGMLQuantizationType[type_]
        shape = gguf.quant_shape_to_byte_shape(values.shape, kind)
        data = values if type_ == "F32" else np.zeros(shape, dtype=np.uint8)
        writer.add_tensor(f"{type_}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "kinds.gguf"


def test_every_kind_of_value_and_tensor(every_kind: Path) -> None:
    header = same_header(every_kind)
    assert header.metadata["u64"] == 2**64 - 1 and header.metadata["no"] is False
    assert {t.type: t.n_bytes for t in header.tensors}["Q4_K"] == 3 * 144  # ggml-common.h: block_q4_K


def test_a_header_that_is_cut_short_anywhere(every_kind: Path, tmp_path: Path) -> None:
    data, cut = every_kind.read_bytes(), tmp_path / "cut.gguf"
    end = data.index(b"Q6_K.weight") + len(b"Q6_K.weight") + 4 + 2 * 8 + 4 + 8
    cut.write_bytes(data[:end])
    assert len(read_header(cut).tensors) == 7
    for length in range(end):
        cut.write_bytes(data[:length])
        with pytest.raises(Error):
            read_header(cut)


@pytest.mark.parametrize(
    ("where", "by", "said"),
    [
        (0, b"GGML", "is no GGUF file"),
        (4, (1).to_bytes(4, "little"), "of version 1"),
        (4, (3).to_bytes(4, "big"), "of version"),
        (8, b"\xff" * 8, "damaged or cut short"),
        (16, b"\xff" * 8, "damaged or cut short"),
        (24, b"\xff" * 8, "damaged or cut short"),
        (24, (2**40).to_bytes(8, "little"), "damaged or cut short"),
    ],
)
def test_a_header_that_is_damaged(every_kind: Path, where: int, by: bytes, said: str) -> None:
    data = every_kind.read_bytes()
    every_kind.write_bytes(data[:where] + by + data[where + len(by) :])
    with pytest.raises(Error, match=said):
        read_header(every_kind)


def test_a_tensor_of_an_unknown_type(every_kind: Path) -> None:
    data = every_kind.read_bytes()
    place = data.index(b"Q6_K.weight") + len(b"Q6_K.weight") + 4 + 2 * 8
    every_kind.write_bytes(data[:place] + (999).to_bytes(4, "little") + data[place + 4 :])
    with pytest.raises(Error, match=r"Q6_K\.weight is of type 999"):
        read_header(every_kind)
