"""Plans against files that were really made, and against what devices hold; no model is run here."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import fake_hub
import small_checkpoint
from edgequant import Error, pipeline
from edgequant.cli import main
from edgequant.convert import conversion, formats, makers
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.gguf_header import read_header
from edgequant.convert.inspection import count_onnx
from edgequant.convert.onnx_header import read_header as read_onnx_header
from edgequant.convert.onnx_options import OnnxOptions
from edgequant.profiles import device
from edgequant.profiles.planning import describing, plan
from edgequant.profiles.records.request import Request
from published_models import llama_3_2_3b


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


def assert_sizes(checkpoint: Checkpoint, names: list[str], folder: Path, **onnx: Any) -> None:
    """Files and their tensor data, to the byte."""
    chosen = [formats.find(name) for name in names]
    options = OnnxOptions(**onnx)
    planned = plan.plan(checkpoint, chosen, device.load("rpi5-8gb"), context=512, onnx=options)
    workshop = conversion.Workshop(folder=folder, threads=1, onnx=options)
    for fmt, prediction in zip(chosen, planned.formats, strict=True):
        artifact = conversion.convert(checkpoint, fmt, workshop)
        assert (prediction.size_bytes, prediction.size_note) == (artifact.size_bytes, ""), fmt.name
        assert prediction.tensor_bytes == tensor_bytes(Path(artifact.path)), fmt.name
        if not options.plain_head:  # a tied head of its own counts as further weights in the file
            assert prediction.bits_per_weight == pytest.approx(artifact.true_bits_per_weight, rel=0.01), fmt.name


def tensor_bytes(path: Path) -> int:
    """As the file's own header has them: of a graph its weights and their scales, and what two tensors share once."""
    if path.is_dir():
        return count_onnx(read_onnx_header(path / "model.onnx")).n_bytes
    return sum(tensor.n_bytes for tensor in read_header(path).tensors)


def test_sizes_are_those_of_files_that_were_made(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tied")
    assert_sizes(checkpoint, ["F16", "Q4_K_M", "Q2_K", "onnx-w8a8"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "onnx",
    [{"plain_head": True}, {"plain_head": True, "per_channel": False}, {"per_channel": False}, {"block_size": 64}],
)
def test_sizes_follow_the_options_of_onnx(tmp_path: Path, onnx: dict[str, Any], tied: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tied=tied)
    assert_sizes(checkpoint, ["onnx-w8a8", "onnx-int8", "onnx-int4-rtn"], tmp_path / "out", **onnx)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_sizes_of_every_default_format(tmp_path: Path, tied: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tied=tied)
    assert_sizes(checkpoint, list(formats.DEFAULT_FORMATS), tmp_path / "out")


@pytest.mark.slow
def test_sizes_of_every_format_of_the_pocket_model(pocket_folder: Path, tmp_path: Path) -> None:
    made_alike = ("smooth", "gptq", "static")  # they store what others do, and read a text to make it
    names = [name for name in formats.FORMATS if not name.endswith(made_alike)]
    assert_sizes(open_folder(pocket_folder), names, tmp_path / "out")


@pytest.mark.parametrize("fused", [True, False])
def test_the_plan_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    if not fused:
        for module in (makers, describing):
            monkeypatch.setattr(module, "obstacle", lambda _: "Optimum exports it")
    chosen = [formats.find(name) for name in ("Q4_K_M", "onnx-int8-dynamic")]
    made = plan.plan(checkpoint, chosen, device.load("rpi5-8gb"), context=1024)
    assert [p.format for p in made.formats] == ["Q4_K_M", "onnx-int8-dynamic"]
    sources = [formats.find(name) for name in (("F16",) if fused else ("F16", "onnx-fp32"))]
    everything = plan.plan(checkpoint, [*chosen, *sources], device.load("rpi5-8gb"), context=1024)
    assert made.disk_bytes == everything.disk_bytes
    beside = everything.disk_bytes - sum(p.size_bytes for p in everything.formats)
    assert 64 << 20 < beside < 75 << 20  # reports, and the reference's log-probabilities of 128 tokens a position
    more = plan.plan(checkpoint, [*chosen, formats.find("Q8_0")], device.load("rpi5-8gb"), context=1024)
    assert more.disk_bytes - made.disk_bytes == more.formats[-1].size_bytes
    assert made.conversion_memory_bytes is not None
    assert (made.conversion_memory_bytes > 480 << 20) is not fused  # torch and Optimum alone
    assert made.to_json()["predicted"] is True
    assert json.loads(json.dumps(made.to_json()))["context"] == 1024


def test_a_format_that_the_device_computes_slowly_is_marked_before_anything_is_made(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    chosen = [formats.find(name) for name in ("Q4_K_M", "onnx-int8", "onnx-w8a8")]
    marks = {}
    for name in ("rpi4-4gb", "avx2-laptop-8gb", "rpi5-4gb"):
        made = plan.plan(checkpoint, chosen, device.load(name), context=512)
        marks[name] = [p.mark for p in made.formats]
        assert all(bool(p.mark) == bool(p.mark_reason) for p in made.formats)
    assert marks["rpi4-4gb"] == ["", "slow here", ""]
    assert marks["avx2-laptop-8gb"] == ["", "", "reduced range"]
    assert marks["rpi5-4gb"] == ["", "", ""]


def test_a_model_on_the_hub_is_planned_from_its_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = write_checkpoint(tmp_path / "checkpoint")
    asked = Request(
        source="owner/model", out=tmp_path / "run", device=device.load("rpi5-8gb"), context=2048, formats=("Q8_0",)
    )
    with fake_hub.serve(local.path, "owner/model") as hub:
        for name, value in {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        far = pipeline.predict(asked)
    near = pipeline.predict(replace(asked, source=str(local.path)))
    assert hub.whole == ["config.json"] and hub.in_part == ["model.safetensors"]
    assert far.formats[0].tensor_bytes == near.formats[0].tensor_bytes > 0
    assert "the tokenizer has not been downloaded" in far.formats[0].size_note
    assert any("within 2 %" in note for note in far.notes) and not near.formats[0].size_note
    assert far.context == 512  # as many tokens as the model takes


@pytest.mark.slow
def test_without_the_tokenizer_sizes_are_within_2_per_cent(demo_folder: Path) -> None:
    known = open_folder(demo_folder, revision="not computed")
    bare = replace(known, path=demo_folder / "nothing", remote=True)
    chosen = [formats.find(name) for name in formats.DEFAULT_FORMATS]
    exact, guessed = (plan.plan(c, chosen, device.load("rpi5-8gb"), context=512).formats for c in (known, bare))
    for one, other in zip(exact, guessed, strict=True):
        assert other.tensor_bytes == one.tensor_bytes and other.size_bytes != one.size_bytes
        assert other.size_bytes == pytest.approx(one.size_bytes, rel=0.02), one.format


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


def test_what_a_run_may_choose_of_onnx_can_be_planned(tmp_path: Path) -> None:
    """Blocks of 64: half as many scales of 4 bytes."""
    folder = write_checkpoint(tmp_path / "checkpoint").path

    def planned(*more: str) -> list[dict[str, Any]]:
        words = ["-q", "plan", str(folder), "--device", "rpi5-8gb", "--formats", "onnx-int8,onnx-w8a8", "--json", *more]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        rows: list[dict[str, Any]] = json.loads(result.stdout)["formats"]
        return rows

    usual, larger = planned(), planned("--block-size", "64")
    n_matrix_weights = 704 * 256 + 4 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256)
    assert usual[0]["tensor_bytes"] - larger[0]["tensor_bytes"] == 4 * n_matrix_weights // 64
    assert planned("--per-tensor")[1]["tensor_bytes"] < usual[1]["tensor_bytes"]
    assert [row["format"] for row in planned("--smooth")] == ["onnx-int8", "onnx-w8a8", "onnx-w8a8-smooth"]


def test_while_the_hub_is_asked_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = write_checkpoint(tmp_path / "checkpoint")
    with fake_hub.serve(local.path, "owner/model") as hub:
        for name, value in {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(main, ["-v", "plan", "owner/model", "--device", "rpi5-8gb", "--formats", "Q8_0"])
    assert result.exit_code == 0, result.output
    assert "asks the Hub for the headers of owner/model" in result.stderr
    assert "asks the Hub" not in result.stdout and "Predicted for model" in result.stdout
