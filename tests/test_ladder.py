"""The predicted tensor types against `llama_model_quantize` itself, on files of random weights with few rows."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgequant import Error
from edgequant.convert import formats, ladder

GGUF_FORMATS = [f for f in formats.FORMATS.values() if f.container == "gguf"]
ROWS = 2  # the choice of types looks at row lengths only, so two rows a matrix keep the files tiny

QUANTISE = """
import json, sys
from llama_cpp import llama_cpp

llama_cpp.llama_log_set(quiet := llama_cpp.llama_log_callback(lambda *_: None), None)
for source, target, ftype in json.load(sys.stdin):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, 1
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), params) != 0:
        sys.exit(f"llama.cpp refused {target}")
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a random model; its matrices have `ROWS` rows and lengths of `hidden` or `inner`."""

    hidden: int = 256
    inner: int = 512
    n_layers: int = 4
    n_heads: int = 8
    n_kv_heads: int = 8
    tied: bool = True
    architecture: str = "llama"

    @property
    def decoder(self) -> ladder.Decoder:
        return ladder.Decoder(
            architecture=self.architecture, n_layers=self.n_layers, n_heads=self.n_heads, n_kv_heads=self.n_kv_heads
        )

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        long, wide = (ROWS, self.hidden), (ROWS, self.inner)
        shapes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", long)]
        shapes.append(("output_norm.weight", (self.hidden,)))
        if not self.tied:
            shapes.append(("output.weight", long))
        for layer in range(self.n_layers):
            shapes += [(f"blk.{layer}.{x}.weight", long) for x in ("attn_q", "attn_k", "attn_v", "attn_output")]
            shapes += [(f"blk.{layer}.{x}.weight", long) for x in ("ffn_gate", "ffn_up")]
            shapes += [(f"blk.{layer}.ffn_down.weight", wide), (f"blk.{layer}.ffn_norm.weight", (self.hidden,))]
            shapes += [(f"blk.{layer}.attn_q_norm.weight", (64,)), (f"blk.{layer}.attn_v.bias", (ROWS,))]
        return shapes

    def write(self, path: Path) -> Path:
        import gguf
        import numpy as np

        writer = gguf.GGUFWriter(str(path), self.architecture)
        writer.add_context_length(128)
        writer.add_embedding_length(self.hidden)
        writer.add_block_count(self.n_layers)
        writer.add_feed_forward_length(self.inner)
        writer.add_head_count(self.n_heads)
        writer.add_head_count_kv(self.n_kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_layer_norm_eps(1e-5)
        random = np.random.default_rng(0)
        for name, shape in self.tensors():
            dtype = np.float16 if len(shape) > 1 else np.float32
            writer.add_tensor(name, random.standard_normal(shape).astype(dtype))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def quantise(shapes: list[Shape], folder: Path, chosen: list[formats.Format]) -> dict[tuple[Shape, str], Path]:
    """Every shape in every chosen format, by llama.cpp in one child process."""
    jobs, files = [], {}
    for number, shape in enumerate(shapes):
        source = shape.write(folder / f"{number}.gguf")
        for fmt in chosen:
            target = files[shape, fmt.name] = folder / f"{number}.{fmt.name}.gguf"
            jobs.append((str(source), str(target), fmt.llama_ftype))
    subprocess.run([sys.executable, "-c", QUANTISE], input=json.dumps(jobs), text=True, check=True)
    return files


def check(shapes: list[Shape], folder: Path, chosen: list[formats.Format] = GGUF_FORMATS) -> set[str]:
    """Assert that types and bytes are as predicted; the types that occurred."""
    import gguf

    seen = set()
    for (shape, format_name), path in quantise(shapes, folder, chosen).items():
        reader = gguf.GGUFReader(str(path))
        real = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        predicted = ladder.tensor_types(formats.find(format_name), shape.tensors(), decoder=shape.decoder)
        assert predicted == real, (shape, format_name)
        data_bytes = sum(ladder.padded_bytes(predicted[name], s) for name, s in shape.tensors())
        assert data_bytes == path.stat().st_size - reader.data_offset
        assert all(ladder.size_bytes(real[t.name], tuple(t.shape[::-1])) == t.n_bytes for t in reader.tensors)
        seen |= set(real.values())
    return seen


def test_types_are_those_of_llama_cpp(tmp_path: Path) -> None:
    shapes = [
        Shape(),
        Shape(n_layers=30, n_kv_heads=2, tied=False),
        Shape(hidden=576, inner=1536, n_layers=5, n_heads=9, n_kv_heads=3),
        Shape(hidden=576, inner=576, n_layers=9, n_heads=9, n_kv_heads=1, tied=False, architecture="qwen3"),
        Shape(hidden=80, inner=48, n_layers=1),
    ]
    assert check(shapes, tmp_path) == set(ladder.BLOCKS)


@pytest.mark.slow
def test_a_model_of_80_layers_is_a_70b_by_llama_cpp_s_rule(tmp_path: Path) -> None:
    shapes = [Shape(n_layers=80, n_kv_heads=kv) for kv in (1, 8)] + [
        Shape(n_layers=80, architecture=name) for name in ("qwen2", "olmo", "qwen3")
    ]
    check(shapes, tmp_path, [formats.find(name) for name in ("Q2_K", "Q3_K_S", "Q4_K_M", "Q5_K_M")])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_types_over_a_matrix_of_shapes(tmp_path: Path, architecture: str, tied: bool) -> None:
    rows = [(256, 512), (576, 1536), (1536, 8960), (896, 4864), (288, 768), (40, 256)]
    layers = [(2, 8), (6, 2), (16, 4), (24, 1), (31, 3)]
    shapes = [
        Shape(hidden=h, inner=i, n_layers=n, n_kv_heads=kv, tied=tied, architecture=architecture)
        for (h, i), (n, kv) in [(r, (6, 2)) for r in rows] + [(rows[0], x) for x in layers]
    ]
    check(shapes, tmp_path)


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    assert {name: GGML_QUANT_SIZES[GGMLQuantizationType[name]] for name in ladder.BLOCKS} == dict(ladder.BLOCKS)


def smollm2() -> list[tuple[str, tuple[int, ...]]]:
    """The tensors of SmolLM2-135M: 30 layers, hidden 576, inner 1536, 9 heads over 3, tied embeddings."""
    tensors: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (49152, 576)), ("output_norm.weight", (576,))]
    for layer in range(30):
        rows = {"attn_q": 576, "attn_k": 192, "attn_v": 192, "attn_output": 576, "ffn_gate": 1536, "ffn_up": 1536}
        tensors += [(f"blk.{layer}.{name}.weight", (n, 576)) for name, n in rows.items()]
        tensors += [(f"blk.{layer}.{name}.weight", (576,)) for name in ("attn_norm", "ffn_norm")]
        tensors.append((f"blk.{layer}.ffn_down.weight", (576, 1536)))
    return tensors


def test_smollm2_in_q4_k_m_is_not_a_4_bit_model() -> None:
    """llama.cpp's own log says 180 of 272 fallbacks for Q4_K_M, 1 of 272 for Q4_0 and 5.35 bits for Q4_0."""
    decoder = ladder.Decoder(n_layers=30, n_heads=9, n_kv_heads=3)
    tensors = smollm2()
    assert len(tensors) == 272
    weights = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for _, shape in tensors)

    def bits(name: str) -> float:
        types = ladder.tensor_types(formats.find(name), tensors, decoder=decoder)
        return 8 * sum(ladder.size_bytes(types[n], s) for n, s in tensors) / weights

    assert len(ladder.fell_back(formats.find("Q4_K_M"), tensors, decoder=decoder)) == 180
    assert ladder.fell_back(formats.find("Q4_0"), tensors, decoder=decoder) == ["token_embd.weight"]
    assert bits("Q4_K_M") == pytest.approx(6.17, abs=0.005)
    assert bits("Q4_0") == pytest.approx(5.35, abs=0.005)
    assert bits("Q2_K") == pytest.approx(5.14, abs=0.005)


def test_what_is_no_gguf_has_no_tensor_types() -> None:
    with pytest.raises(Error, match="onnx-fp32 is no GGUF format"):
        ladder.tensor_types(formats.find("onnx-fp32"), [], decoder=Shape().decoder)


def test_a_row_that_is_no_multiple_of_the_block_has_no_size() -> None:
    with pytest.raises(Error, match="576 weights cannot be stored as Q4_K"):
        ladder.size_bytes("Q4_K", (4, 576))
    assert ladder.size_bytes("Q8_0", (3, 32)) == 102
    assert ladder.padded_bytes("Q8_0", (3, 32)) == 128


def test_formats_are_found_in_any_case_and_by_alias() -> None:
    assert formats.find("q4_k_m") is formats.FORMATS["Q4_K_M"]
    assert formats.find("Q4_K") is formats.FORMATS["Q4_K_M"]
    assert formats.find("ONNX-FP32").container == "onnx"


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(Error, match="unknown format 'Q9'") as caught:
        formats.find("Q9")
    assert all(name in caught.value.hint for name in formats.FORMATS)


def test_ids_and_default_types_are_llama_cpp_s() -> None:
    """The ids against the enum in the binding; formats that others are made from exist."""
    from llama_cpp import llama_cpp

    for fmt in GGUF_FORMATS:
        constant = "LLAMA_FTYPE_ALL_F32" if fmt.name == "F32" else f"LLAMA_FTYPE_MOSTLY_{fmt.name}"
        assert fmt.llama_ftype == getattr(llama_cpp, constant)
    assert all(f.made_from in {"checkpoint", *formats.FORMATS} for f in formats.FORMATS.values())
    assert set(formats.DEFAULT_FORMATS) <= set(formats.FORMATS)
