"""Predictions against hand-worked figures and against files that were really made; no model is run for long here."""

import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import small_checkpoint
from edgequant import Error
from edgequant.convert import conversion, formats, ladder, makers
from edgequant.convert.architectures.geometry import Geometry
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.profiles import device, footprint, plan
from edgequant.profiles.model import Model
from edgequant.report import listings

GIB = 1 << 30


def geometry(n_layers: int, n_kv_heads: int, head_dim: int, **values: Any) -> Geometry:
    """Sizes with what a test does not care about filled in."""
    rest = {"hidden": 1024, "intermediate": 4096, "n_heads": 8, "vocabulary": 1000, "context": 8192}
    return Geometry(
        n_layers=n_layers,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        norm_epsilon=1e-5,
        rope_theta=1e4,
        rope_scaling={"rope_type": "default"},
        **{**rest, **values},
    )


def llama_3_2_3b() -> Model:
    """Llama-3.2-3B from its published config.json: 28 layers, 24 heads over 8 of 128, tied embeddings."""
    hidden, inner, vocabulary, kv = 3072, 8192, 128256, 1024
    tensors: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (vocabulary, hidden))]
    tensors += [("output_norm.weight", (hidden,)), ("rope_freqs.weight", (64,))]
    for layer in range(28):
        rows = {"attn_q": hidden, "attn_k": kv, "attn_v": kv, "attn_output": hidden, "ffn_gate": inner, "ffn_up": inner}
        tensors += [(f"blk.{layer}.{name}.weight", (n, hidden)) for name, n in rows.items()]
        tensors += [(f"blk.{layer}.ffn_down.weight", (hidden, inner))]
        tensors += [(f"blk.{layer}.{name}_norm.weight", (hidden,)) for name in ("attn", "ffn")]
    sizes = geometry(28, 8, 128, hidden=hidden, intermediate=inner, n_heads=24, vocabulary=vocabulary)
    return Model(sizes=sizes, decoder=ladder.Decoder(n_layers=28, n_heads=24, n_kv_heads=8), tensors=tensors)


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
    model = replace(llama_3_2_3b(), vocabulary_bytes=7_800_000)
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


def test_a_device_holds_what_fits_and_says_why() -> None:
    model, q4_0 = llama_3_2_3b(), formats.find("Q4_0")
    pi = device.load("rpi5-4gb")
    small = plan.predict(model, q4_0, device.load("rpi5-2gb"), context=2048)
    assert not small.fits
    assert "needs about 4." in small.why and "1.80 GB that rpi5-2gb has" in small.why
    tight = plan.predict(model, q4_0, replace(pi, usable_ram_bytes=4_000_000_000), context=2048)
    assert not tight.fits and "would fit without llama.cpp's repacked copy" in tight.why
    roomy = plan.predict(model, q4_0, device.load("rpi5-8gb"), context=2048)
    assert roomy.fits and roomy.peak_memory_bytes == sum(roomy.memory.values())
    assert plan.predict(model, q4_0, device.load("rpi4-8gb"), context=2048).memory["repacked copy"] == 0


def test_decode_is_bounded_by_reading_the_weights() -> None:
    """2.01 GB a token at 11.59 GB/s: 5.8 tokens/s at best on a Pi 5, where 4.9 to 5.5 were seen."""
    model, q4_k_m = llama_3_2_3b(), formats.find("Q4_K_M")
    bound = plan.predict(model, q4_k_m, device.load("rpi5-8gb"), context=2048).decode_tokens_per_second
    assert bound is not None and bound == pytest.approx(11.59 / 2.01, rel=0.005)
    assert plan.predict(model, q4_k_m, device.load("cloud-vm-2c-4gb"), context=2048).decode_tokens_per_second is None


def test_an_embedding_of_its_own_is_not_read_whole() -> None:
    tied = llama_3_2_3b()
    untied = replace(tied, tensors=[*tied.tensors, ("output.weight", (128256, 3072))])
    for name in ("Q8_0", "onnx-int8-dynamic", "onnx-fp32"):
        fmt = formats.find(name)
        assert footprint.decode_bytes(untied, fmt) == footprint.decode_bytes(tied, fmt)
    assert footprint.decode_bytes(tied, formats.find("onnx-fp32")) == 4 * tied.n_weights


def test_of_experts_those_that_are_chosen_are_read_and_of_learnt_positions_one_row() -> None:
    """Two of eight experts: a quarter of 8 x 64 x 32 x 2 bytes. A matrix of 32 x 32, an output of 100 x 32, F16."""
    tensors = [("token_embd.weight", (100, 32)), ("position_embd.weight", (64, 32)), ("output.weight", (100, 32))]
    tensors += [("blk.0.attn_q.weight", (32, 32)), ("blk.0.ffn_up_exps.weight", (8, 64, 32))]
    sizes = geometry(1, 8, 4, hidden=32, n_experts=8, n_experts_used=2)
    decoder = ladder.Decoder(n_layers=1, n_heads=8, n_kv_heads=8, n_experts=8)
    model = Model(sizes=sizes, decoder=decoder, tensors=tensors)
    assert footprint.decode_bytes(model, formats.find("F16")) == 2 * (100 * 32 + 32 * 32 + 8 * 64 * 32 // 4)
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


def write_checkpoint(folder: Path, *, tied: bool = True) -> Checkpoint:
    """A Llama of random weights: 4 layers, hidden 256, inner 512, and more rows than its tokenizer has tokens."""
    import numpy as np

    hidden, inner, kv, vocabulary, n_layers = 256, 512, 128, 704, 4
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": vocabulary,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    shapes["model.norm.weight"] = (hidden,)
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}."
        for name, n in {"q_proj": hidden, "k_proj": kv, "v_proj": kv, "o_proj": hidden}.items():
            shapes[f"{prefix}self_attn.{name}.weight"] = (n, hidden)
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{prefix}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    random, header, data = np.random.default_rng(0), {}, b""
    for name, shape in shapes.items():
        values = random.standard_normal(shape).astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    folder.mkdir(parents=True)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps(config))
    small_checkpoint.write_tokenizer(folder)
    return open_folder(folder)


def assert_sizes(checkpoint: Checkpoint, names: list[str], folder: Path, *, within: float) -> None:
    chosen = [formats.find(name) for name in names]
    planned = plan.plan(checkpoint, chosen, device.load("rpi5-8gb"), context=512)
    for fmt, prediction in zip(chosen, planned.formats, strict=True):
        artifact = conversion.convert(checkpoint, fmt, conversion.Workshop(folder=folder, threads=1))
        assert prediction.size_bytes == pytest.approx(artifact.size_bytes, rel=within), fmt.name
        assert prediction.bits_per_weight == pytest.approx(artifact.true_bits_per_weight, rel=0.01), fmt.name


def test_sizes_are_those_of_files_that_llama_cpp_wrote(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tied")
    assert_sizes(checkpoint, ["F16", "Q4_K_M", "Q2_K"], tmp_path, within=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_sizes_of_every_default_format(tmp_path: Path, tied: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tied=tied)
    assert_sizes(checkpoint, list(formats.DEFAULT_FORMATS), tmp_path / "out", within=0.015)


@pytest.mark.parametrize("fused", [True, False])
def test_the_plan_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    if not fused:
        for module in (makers, plan):
            monkeypatch.setattr(module, "obstacle", lambda _: "Optimum exports it")
    chosen = [formats.find(name) for name in ("Q4_K_M", "onnx-int8-dynamic")]
    made = plan.plan(checkpoint, chosen, device.load("rpi5-8gb"), context=1024)
    assert [p.format for p in made.formats] == ["Q4_K_M", "onnx-int8-dynamic"]
    sources = [formats.find(name) for name in (("F16",) if fused else ("F16", "onnx-fp32"))]
    everything = plan.plan(checkpoint, [*chosen, *sources], device.load("rpi5-8gb"), context=1024)
    assert made.disk_bytes == everything.disk_bytes > sum(p.size_bytes for p in everything.formats)
    more = plan.plan(checkpoint, [*chosen, formats.find("Q8_0")], device.load("rpi5-8gb"), context=1024)
    assert more.disk_bytes - made.disk_bytes == more.formats[-1].size_bytes
    assert made.conversion_memory_bytes is not None
    assert (made.conversion_memory_bytes > 480 << 20) is not fused  # torch and Optimum alone
    assert made.to_json()["predicted"] is True
    assert json.loads(json.dumps(made.to_json()))["context"] == 1024


def listed(made: plan.Plan) -> str:
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(listings.plan(made))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_format_that_the_device_computes_slowly_is_marked_before_anything_is_made(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    chosen = [formats.find(name) for name in ("Q4_K_M", "onnx-int8", "onnx-w8a8")]
    marks, texts = {}, {}
    for name in ("rpi4-4gb", "avx2-laptop-8gb", "rpi5-4gb"):
        made = plan.plan(checkpoint, chosen, device.load(name), context=512)
        marks[name], texts[name] = [p.mark for p in made.formats], listed(made)
        assert all(bool(p.mark) == bool(p.mark_reason) for p in made.formats)
    assert marks["rpi4-4gb"] == ["", "slow here", ""]
    assert marks["avx2-laptop-8gb"] == ["", "", "reduced range"]
    assert marks["rpi5-4gb"] == ["", "", ""]
    assert "kernels" in texts["rpi4-4gb"] and "onnx-int8: slow here: without dot products" in texts["rpi4-4gb"]
    assert "onnx-w8a8: reduced range: without VNNI" in texts["avx2-laptop-8gb"]
    assert "kernels" not in texts["rpi5-4gb"] and "fine" not in texts["rpi5-4gb"]


def test_nothing_to_make_needs_nothing(tmp_path: Path) -> None:
    empty = plan.plan(write_checkpoint(tmp_path / "c"), [], device.load("rpi5-8gb"), context=1024)
    assert (empty.disk_bytes, empty.conversion_memory_bytes, empty.formats) == (0, 0, ())


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan.plan(write_checkpoint(tmp_path / "c"), [formats.find("Q8_0")], device.load("rpi5-8gb"), context=512)
    free = {tmp_path: made.disk_bytes}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[path]))
    made.check_disk(tmp_path / "not" / "yet" / "there")
    free[tmp_path] -= 1
    with pytest.raises(Error, match=r"has .* MB free, but the run needs about") as caught:
        made.check_disk(tmp_path)
    assert "--formats" in caught.value.hint
