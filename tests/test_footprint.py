"""Bytes of files and of memory against figures worked by hand, and against what others published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgequant.convert import formats, ladder
from edgequant.profiles.planning import footprint
from edgequant.profiles.planning.model import Model
from edgequant.profiles.planning.work import work
from published_models import geometry, llama_3_2_3b

GIB = 1 << 30


@pytest.mark.parametrize(
    ("model", "sizes", "kib"),
    [
        ("Llama-3.1-8B", (32, 8, 128), 128),
        ("Llama-3.2-1B", (16, 8, 64), 32),
        ("Llama-3.2-3B", (28, 8, 128), 112),
        ("Qwen2.5-0.5B", (24, 2, 64), 12),
        ("Qwen3-0.6B", (28, 8, 128), 112),
        ("Qwen3-8B", (36, 8, 128), 144),
    ],
)
def test_keys_and_values_of_one_token(model: str, sizes: tuple[int, int, int], kib: int) -> None:
    """Layers x heads x 2 x head size x 2 bytes, worked by hand from each model's config.json."""
    assert footprint.kv_bytes_per_token(geometry(*sizes), bytes_per_value=2) == kib * 1024, model


def test_llama_3_2_3b_weighs_what_its_published_files_weigh() -> None:
    """Hugging Face's GGUF of Llama-3.2-3B-Instruct: Q4_K_M 2.02 GB, Q8_0 3.42 GB, of which 8 MB are the vocabulary."""
    model = replace(llama_3_2_3b(), header_bytes=7_800_000)
    assert footprint.file_bytes(model, formats.find("Q4_K_M")) == pytest.approx(2.02e9, rel=0.005)
    assert footprint.file_bytes(model, formats.find("Q8_0")) == pytest.approx(3.42e9, rel=0.005)


def test_a_repacked_copy_is_counted_where_llama_cpp_makes_one() -> None:
    """llama.cpp pull request 24156: Llama-3.2-3B in Q4_0 takes 3.73 GiB with a copy and 2.30 without, 1.43 apart."""
    model, q4_0 = llama_3_2_3b(), formats.find("Q4_0")
    x86 = footprint.repacked_bytes(model, q4_0, isa=("avx2",))
    blocks = sum(
        shape[0] * shape[1] * 18 // 32 for name, shape in model.tensors if len(shape) == 2 and name[:3] == "blk"
    )
    assert x86 == blocks
    assert x86 / GIB == pytest.approx(1.43, abs=0.06)
    arm = footprint.repacked_bytes(model, q4_0, isa=("neon", "dotprod"))
    assert arm == blocks + 128256 * 3072 * 210 // 256  # the tied embedding, in Q6_K, is copied as the output matrix
    untied = replace(model, tensors=[*model.tensors, ("output.weight", (128256, 3072))])
    assert footprint.repacked_bytes(untied, q4_0, isa=("neon", "dotprod")) == arm  # an embedding is only looked up
    assert footprint.repacked_bytes(model, q4_0, isa=("neon",)) == 0
    assert footprint.repacked_bytes(model, formats.find("F16"), isa=("avx2", "dotprod")) == 0


def test_a_cache_grows_with_the_context_and_is_allotted_in_steps() -> None:
    model, q8 = llama_3_2_3b(), formats.find("Q8_0")
    at = {n: footprint.memory_parts(model, q8, context=n, isa=())["key/value cache"] for n in (8192, 4096, 4000)}
    assert at[8192] == 8192 * 112 * 1024
    assert at[8192] == 2 * at[4096]
    assert at[4000] == at[4096]


def test_an_embedding_of_its_own_is_not_read_whole() -> None:
    tied = llama_3_2_3b()
    untied = replace(tied, tensors=[*tied.tensors, ("output.weight", (128256, 3072))], fused=True)
    for name in ("Q8_0", "onnx-w8a8", "onnx-fp32"):
        fmt = formats.find(name)
        assert work(untied, fmt).n_bytes == work(replace(tied, fused=True), fmt).n_bytes
    n_vectors = sum(shape[0] for _, shape in tied.tensors if len(shape) == 1)
    assert work(tied, formats.find("onnx-fp32")).n_bytes == 4 * (tied.n_weights - n_vectors)


def test_of_experts_those_that_are_chosen_are_read_and_of_learnt_positions_one_row() -> None:
    """Two of eight experts: a quarter of 8 x 64 x 32 x 2 bytes. A matrix of 32 x 32, an output of 100 x 32, F16."""
    tensors = [("token_embd.weight", (100, 32)), ("position_embd.weight", (64, 32)), ("output.weight", (100, 32))]
    tensors += [("blk.0.attn_q.weight", (32, 32)), ("blk.0.ffn_up_exps.weight", (8, 64, 32))]
    tensors += [("per_layer_token_embd.weight", (100, 256))]
    sizes = geometry(1, 8, 4, hidden=32, n_experts=8, n_experts_used=2)
    decoder = ladder.Decoder(n_layers=1, n_heads=8, n_kv_heads=8, n_experts=8)
    model = Model(sizes=sizes, decoder=decoder, tensors=tensors)
    found = work(model, formats.find("F16"))
    assert found.n_bytes == 2 * (100 * 32 + 32 * 32 + 8 * 64 * 32 // 4)
    assert found.head["F16"].weights == 100 * 32 and found.layers["F16"].weights == 32 * 32 + 8 * 64 * 32 / 4
    q4_0 = formats.find("Q4_0")  # repacked in groups of 8 rows: 64 in each expert, 100 in the output do not fit
    assert footprint.repacked_bytes(model, q4_0, isa=("avx2",)) == (32 * 32 + 8 * 64 * 32) // 32 * 18


def test_onnx_writes_a_tied_embedding_twice() -> None:
    """The shape of SmolLM2-135M exported by Optimum: 162,792,000 float32 values for 134,515,008 weights."""
    smollm2 = [("token_embd.weight", (49152, 576)), ("output_norm.weight", (576,))]
    for layer in range(30):
        rows = {"attn_q": 576, "attn_k": 192, "attn_v": 192, "attn_output": 576, "ffn_gate": 1536, "ffn_up": 1536}
        smollm2 += [(f"blk.{layer}.{name}.weight", (n, 576)) for name, n in rows.items()]
        smollm2 += [(f"blk.{layer}.{name}_norm.weight", (576,)) for name in ("attn", "ffn")]
        smollm2.append((f"blk.{layer}.ffn_down.weight", (576, 1536)))
    sizes = geometry(30, 3, 64, hidden=576, intermediate=1536, n_heads=9, vocabulary=49152)
    decoder = ladder.Decoder(n_layers=30, n_heads=9, n_kv_heads=3)
    model = Model(sizes=sizes, decoder=decoder, tensors=smollm2)
    assert model.n_weights == 134_515_008
    fp32, int8 = formats.find("onnx-fp32"), formats.find("onnx-int8-dynamic")
    assert footprint.tensor_bytes(model, fp32) == pytest.approx(4 * 162_792_000, rel=0.001)
    assert footprint.file_bytes(model, fp32) == pytest.approx(652_397_026, rel=0.001)
    assert footprint.file_bytes(model, int8) == pytest.approx(165_792_230, rel=0.002)


def gemma_3_1b() -> Model:
    """Gemma-3-1b from its published config.json: of 26 layers every sixth looks at everything, the others at 512."""
    slides = tuple((layer + 1) % 6 != 0 for layer in range(26))
    sizes = geometry(26, 1, 256, hidden=1152, intermediate=6912, n_heads=4, slides=slides, window=512, context=32768)
    decoder = ladder.Decoder(architecture="gemma3", n_layers=26, n_heads=4, n_kv_heads=1)
    return Model(sizes=sizes, decoder=decoder, tensors=[("token_embd.weight", (1000, 1152))], fused=True)


def test_sliding_windows_keep_the_window_and_a_batch() -> None:
    """A layer keeps 2 x 256 x 2 bytes a token: 4 full layers all 8192, the other 22 no more than 512 + 512."""
    model, f16 = gemma_3_1b(), formats.find("F16")
    cache = footprint.memory_parts(model, f16, context=8192, isa=())["key/value cache"]
    assert cache == 1024 * (4 * 8192 + 22 * 1024)
    assert footprint.memory_parts(model, f16, context=512, isa=())["key/value cache"] == 1024 * 26 * 512
    onnx = footprint.memory_parts(model, formats.find("onnx-fp32"), context=8192, isa=())["key/value cache"]
    assert onnx == 2 * 1024 * 26 * 8192  # float32, and every token in every layer


def test_layers_without_attention_keep_a_state() -> None:
    """Qwen3.5-0.8B: 18 of 24 layers have 16 heads with a float32 state of 128 x 128, and 3 tokens of a convolution."""
    attends = (False, False, False, True) * 6
    sizes = geometry(
        24, 2, 256, attends=attends, conv_kernel=4, linear_key_heads=16, linear_value_heads=16, linear_head_dim=128
    )
    decoder = ladder.Decoder(architecture="qwen35", n_layers=24, n_heads=8, n_kv_heads=2)
    model = Model(sizes=sizes, decoder=decoder, tensors=[("token_embd.weight", (1000, 1024))])
    assert model.state_bytes == 4 * 18 * (16 * 128 * 128 + 3 * (3 * 16 * 128))
    cache = footprint.memory_parts(model, formats.find("F16"), context=1024, isa=())["key/value cache"]
    assert cache == 1024 * 6 * 2 * 2 * 256 * 2 + model.state_bytes


@pytest.mark.parametrize("name", ["Q8_0", "onnx-int8"])
def test_memory_is_a_line_over_the_context(name: str) -> None:
    fmt = formats.find(name)
    for model in (replace(llama_3_2_3b(), fused=True), gemma_3_1b()):
        line = footprint.line(model, fmt, isa=("avx2",))
        assert line.from_tokens == (512 if not model.sizes.window else 1024)
        for tokens in (line.from_tokens, 4096, 8192):
            at = footprint.peak_bytes(model, fmt, context=tokens, isa=("avx2",))
            assert at == line.intercept_bytes + tokens * line.bytes_per_token
    bytes_a_token = {"Q8_0": 2 * 4 * 1 * 512 + 4 * 512, "onnx-int8": 4 * 26 * 512 + 4 * 128 * 4}[name]
    assert line.bytes_per_token == bytes_a_token  # Gemma's full layers and a row of masks; all layers and scores


def test_the_largest_context_is_what_the_memory_holds_to_the_byte() -> None:
    model, fmt = llama_3_2_3b(), formats.find("Q4_K_M")
    needed = footprint.peak_bytes(model, fmt, context=4096, isa=())

    def most(memory_bytes: int) -> int:
        return footprint.largest_context(model, fmt, isa=(), memory_bytes=memory_bytes)

    assert (most(needed), most(needed - 1), most(10**12), most(10**6)) == (4096, 4096 - 256, 8192, 0)
