"""`inspect`: what the gguf, onnx and safetensors packages wrote is told, weights unread, and no terminal is obeyed."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import gguf_files
import small_checkpoint
from edgequant import Error
from edgequant.cli import main
from edgequant.convert import attention, onnx_header
from edgequant.convert.attention import Attention
from edgequant.convert.description import LongArray, describe
from edgequant.convert.inspection import inspect_onnx
from edgequant.report import described

TEMPLATE = "{% for m in messages %}\n{{ m.content }}\x1b[31m\n{% endfor %}" + "\n{# end #}" * 10


def shown(path: Path, *words: str) -> str:
    result = CliRunner().invoke(main, ["inspect", str(path), *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def told(path: Path, *words: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(shown(path, "--json", *words))
    return values


def model(path: Path, *, type_: str = "Q8_0", **extra: Any) -> Path:
    vocabulary = gguf_files.byte_level_vocabulary("gpt-2")
    tensors = gguf_files.random_tensors("llama", len(vocabulary["tokens"]), type_=type_)
    return gguf_files.write(path, vocabulary, tensors=tensors, extra=extra)


def test_a_gguf(tmp_path: Path) -> None:
    named = {"general.name": "N", "general.license": "MIT", "general.license.link": "https://l"}
    parent = {"general.base_model.count": 1, "general.base_model.0.name": "P", "general.base_model.0.organization": "O"}
    file = model(tmp_path / "x.gguf", **named, **parent, **{"tokenizer.chat_template": TEMPLATE})
    found, reader = told(file), gguf.GGUFReader(file)
    assert (found["container"], found["name"], found["architecture"]) == ("gguf", "N", "llama")
    assert found["contents"]["n_weights"] == sum(int(t.n_elements) for t in reader.tensors)
    assert found["contents"]["n_bytes"] == sum(int(t.n_bytes) for t in reader.tensors)
    bits = 8 * found["contents"]["n_bytes"] / found["contents"]["n_weights"]
    assert found["contents"]["bits_per_weight"] == pytest.approx(bits) and 8.5 < bits < 8.7  # Q8_0 has 8.5
    assert list(found["contents"]["tensor_types"]) == ["Q8_0", "F32"]
    assert found["licence"] == {"license": "MIT", "license.link": "https://l"}
    assert found["base_models"] == ["O/P"] and found["chat_templates"] == {"default": TEMPLATE}
    assert found["header"]["tokenizer.ggml.tokens"] == {
        "n_elements": 600,
        "first": reader.fields["tokenizer.ggml.tokens"].contents()[:16],
    }
    # 2 layers, 2 heads of 64 / 4 values, keys and values, 2 bytes each: 256 bytes a token
    assert found["memory"]["context"] == 128 and found["memory"]["cache_bytes"] == 256 * 256
    assert told(file, "--context", "1000")["memory"]["cache_bytes"] == 256 * 1024
    text = shown(file, "--context", "1000")
    for words in ("O/P", "MIT, https://l", "600 strings", "a prediction", "7 more lines", "8.5", "trained for"):
        assert words in text


def test_the_weights_are_not_read(tmp_path: Path) -> None:
    """All that follows the header is a hole: whoever reads it would read 64 GB."""
    file = model(tmp_path / "x.gguf")
    start = gguf.GGUFReader(file).tensors[0].data_offset
    with file.open("r+b") as stream:
        stream.truncate(start)
        stream.truncate(2**36)
    assert "8." in shown(file)


def test_a_file_that_is_cut_short_says_so(tmp_path: Path) -> None:
    file = model(tmp_path / "x.gguf")
    file.write_bytes(file.read_bytes()[: gguf.GGUFReader(file).tensors[0].data_offset + 1000])
    assert "x.gguf is cut short" in told(file)["notes"][0]
    file.write_bytes(file.read_bytes()[:1000])
    assert_refused(file, "damaged or cut short")


def assert_refused(path: Path, said: str) -> None:
    with pytest.raises(Error, match=said):
        describe(path)
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 1 and result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_a_split_model(tmp_path: Path) -> None:
    for part in (1, 2):
        writer = gguf.GGUFWriter(tmp_path / f"m-{part:05}-of-00002.gguf", "llama")
        writer.add_name("whole")
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", 2)
        writer.add_tensor(f"{part}.weight", np.ones((part, 64), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    first, second = sorted(tmp_path.iterdir())
    for part_named in (first, second):
        found = told(part_named)
        assert found["contents"]["n_weights"] == 3 * 64 and found["notes"] == ["split into 2 files"]
        assert found["size_bytes"] == first.stat().st_size + second.stat().st_size
    assert told(tmp_path)["contents"]["n_weights"] == 3 * 64
    second.rename(tmp_path / "elsewhere.gguf")
    assert_refused(first, "lacks m-00002-of-00002.gguf")
    assert "one of 2 parts" in told(tmp_path / "elsewhere.gguf")["notes"][0]
    first.rename(tmp_path / "another.gguf")
    assert_refused(tmp_path, "holds 2 GGUF files")


def test_a_vocabulary_alone(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "v.gguf", gguf_files.byte_level_vocabulary("gpt-2"))
    text = shown(file)
    assert "a vocabulary alone" in text and "prediction" not in text and "chat template: none" in text


def test_a_checkpoint(tmp_path: Path) -> None:
    folder = small_checkpoint.write(tmp_path / "model", n_shards=3, dtype="BF16")
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: o/p\n---\n")
    found = told(folder)
    assert (found["container"], found["architecture"]) == ("checkpoint", "LlamaForCausalLM")
    assert found["contents"]["tensor_types"] == {"BF16": 1.0} and found["contents"]["bits_per_weight"] == 16
    assert len(found["files"]) == 3 and found["licence"] == {"license": "MIT"} and found["base_models"] == ["o/p"]
    assert found["chat_templates"] == {"default": small_checkpoint.TEMPLATE}
    assert found["memory"]["cache_bytes"] == 2 * 2 * 2 * 8 * 2 * 256
    (folder / "chat_template.jinja").write_text("from the file")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("with tools")
    assert told(folder)["chat_templates"] == {"default": "from the file", "tools": "with tools"}


def test_an_unknown_architecture_is_described_all_the_same(tmp_path: Path) -> None:
    config = {"model_type": "new", "quantization_config": {"quant_method": "gptq"}, "vocab_size": "?", "n_layer": [1]}
    found = told(small_checkpoint.write(tmp_path / "model", config=config))
    assert found["architecture"] == "new" and found["attention"] is None
    assert found["notes"] == ["quantised with GPTQ: its tensors hold packed weights, and are counted as they are"]
    assert "not known" in shown(tmp_path / "model")


def test_weights_of_a_kind_that_is_read_are_counted_unpacked(tmp_path: Path) -> None:
    config = {**small_checkpoint.CONFIG, "quantization_config": {"quant_method": "fp8"}}
    found = told(small_checkpoint.write(tmp_path / "model", config=config))
    assert found["notes"] == ["quantised with FP8: weights are counted as they are unpacked"]


def test_a_checkpoint_is_not_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgequant.convert import checkpoint

    monkeypatch.setattr(checkpoint, "_digest", None)
    assert describe(small_checkpoint.write(tmp_path / "model")).container == "checkpoint"


# -- ONNX: graphs written by the onnx package


def graph(folder: Path, *, external: bool = False) -> Path:
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.standard_normal((128, 64)).astype(np.float32), "embedding"),
        numpy_helper.from_array(rng.integers(-9, 9, (64, 300)).astype(np.int8), "matrix"),
        numpy_helper.from_array(np.float32(0.5), "scalar"),
        numpy_helper.from_array(np.array([1, -1, 64]), "shape"),
        numpy_helper.from_array(rng.integers(0, 255, (96, 2, 16)).astype(np.uint8), "packed"),
        numpy_helper.from_array(rng.standard_normal(192).astype(np.float16), "scales"),
        helper.make_tensor("nibbles", TensorProto.INT4, (3, 5), [1] * 15),
        helper.make_tensor("half", TensorProto.BFLOAT16, (300,), [1.0] * 300),
    ]
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["h"]),
        helper.make_node("MatMulNBits", ["h", "packed", "scales"], ["y"], K=64, N=96, bits=4, block_size=32),
    ]
    made = helper.make_graph(nodes, "g", [], [], initializer=tensors)
    proto = helper.make_model(made, producer_name="maker", opset_imports=[helper.make_opsetid("", 21)])
    proto.metadata_props.add(key="k", value="v\x1b[2J")
    folder.mkdir(exist_ok=True)
    options = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 100} if external else {}
    onnx.save(proto, folder / "model.onnx", **options)
    return folder


@pytest.mark.parametrize("external", [False, True])
def test_an_onnx_folder(tmp_path: Path, external: bool) -> None:
    folder = graph(tmp_path / "m", external=external)
    small_checkpoint.write_tokenizer(folder)
    small_checkpoint.write_json(folder / "config.json", small_checkpoint.CONFIG)
    found = told(folder)
    # packed: 64 x 96 weights in 3072 bytes, and 384 bytes of scales
    weights = {"float32": 128 * 64, "int8": 64 * 300, "int4": 64 * 96 + 15, "bfloat16": 300}
    assert found["contents"]["n_weights"] == sum(weights.values())
    assert found["contents"]["n_bytes"] == 4 * 128 * 64 + 64 * 300 + 3072 + 384 + 8 + 600
    shares = {type_: n / sum(weights.values()) for type_, n in weights.items()}
    assert found["contents"]["tensor_types"] == pytest.approx(shares)
    assert found["header"] | {"producer_name": "maker", "opset ai.onnx": 21, "k": "v\x1b[2J"} == found["header"]
    assert found["header"]["operator MatMulNBits"] == 1
    assert found["architecture"] == "LlamaForCausalLM" and found["memory"]["cache_bytes"] == 2 * 2 * 2 * 8 * 2 * 256
    assert len(found["files"]) == 1 + external
    assert inspect_onnx({"path": str(folder)}).items() <= found["contents"].items()
    assert "\x1b" not in shown(folder)


def test_the_graph_as_the_onnx_package_reads_it(tmp_path: Path) -> None:
    header = onnx_header.read_header(graph(tmp_path / "m") / "model.onnx")
    proto = onnx.load(tmp_path / "m" / "model.onnx")
    assert [(t.name, t.shape) for t in header.tensors] == [(t.name, tuple(t.dims)) for t in proto.graph.initializer]
    assert [(n.operator, list(n.inputs)) for n in header.nodes] == [
        (n.op_type, list(n.input)) for n in proto.graph.node
    ]
    assert header.nodes[1].integers == {"K": 64, "N": 96, "bits": 4, "block_size": 32}


def test_a_graph_that_is_cut_short_anywhere(tmp_path: Path) -> None:
    file = graph(tmp_path / "m", external=True) / "model.onnx"
    data = file.read_bytes()
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        try:
            onnx_header.read_header(file)
        except Error as error:
            assert "again" in error.hint
        else:  # cut between two fields of the model, all of its graph there
            assert len(onnx.load(file, load_external_data=False).graph.initializer) == 8


@pytest.mark.parametrize("data", [b"", b"hello there", b"\xff" * 64, struct.pack("<Q", 5), b"\x3a\xff\xff\xff\xff\x0f"])
def test_a_file_that_is_no_graph(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    assert_refused(tmp_path / "x.onnx", "no ONNX graph")


def test_what_cannot_be_described(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    assert_refused(tmp_path / "x.txt", "no GGUF")
    assert_refused(tmp_path / "nowhere", "does not exist")
    assert_refused(tmp_path, "no config.json")


# -- hostile text


def test_no_string_reaches_the_terminal_raw(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e[red]x[/red]"
    file = model(
        tmp_path / "x.gguf",
        **{"general.name": evil, "general.license": evil, f"evil{evil}": evil, "general.tags": [evil] * 3},
        **{
            "tokenizer.chat_template": evil,
            f"tokenizer.chat_template.{evil}": evil,
            "general.description": "y" * 10**6,
        },
    )
    text = shown(file)
    assert not set(text) & set("\x1b\x07\r\x9b\u202e") and len(text) < 20_000
    assert "[red]x[/red]" in text.replace("\n", "").replace(" ", "")
    assert "\x1b" not in shown(file, "--json") and told(file)["name"] == evil


# -- the cache


def test_layers_with_windows() -> None:
    """Gemma 3 1B: 26 layers, 1 head of 256, a window of 512 in five of six; llama.cpp allots 512 + 512 cells."""
    keys = {"block_count": 26, "embedding_length": 1152, "attention.head_count": 4, "attention.head_count_kv": 1}
    keys |= {"attention.key_length": 256, "attention.value_length": 256, "attention.sliding_window": 512}
    found = attention.from_gguf({"general.architecture": "gemma3", **{f"gemma3.{k}": v for k, v in keys.items()}})
    assert found is not None and sum(found.windowed) == 22
    assert found.cache_bytes(8192) == 1024 * (4 * 8192 + 22 * 1024)
    assert found.cache_bytes(8192, whole=True) == 1024 * 26 * 8192
    config = {"model_type": "gemma3_text", "num_hidden_layers": 26, "num_attention_heads": 4, "head_dim": 256}
    config |= {"num_key_value_heads": 1, "sliding_window": 512, "max_position_embeddings": 32768}
    layers = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(26)]
    for told_apart in ({}, {"layer_types": layers}, {"sliding_window_pattern": 6}):
        same = attention.from_config({"text_config": {**config, **told_apart}})
        assert same is not None and same.cache_bytes(8192) == found.cache_bytes(8192)


def test_layers_that_differ() -> None:
    """LFM2 lists its heads by layer, none where it convolves; DeepSeek's latent values are part of its keys."""
    keys = {
        "block_count": 4,
        "embedding_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": [0, 2, 0, 2],
    }
    lfm2 = attention.from_gguf({"general.architecture": "lfm2", **{f"lfm2.{k}": v for k, v in keys.items()}})
    assert lfm2 is not None and lfm2.cached_values == (0, 64, 0, 64)
    keys = {"block_count": 2, "attention.head_count": 16, "attention.head_count_kv": 1, "attention.key_length": 576}
    keys |= {"attention.value_length": 512, "attention.key_length_mla": 192}
    latent = attention.from_gguf({"general.architecture": "d", **{f"d.{k}": v for k, v in keys.items()}})
    assert latent is not None and latent.cached_values == (576, 576)


@pytest.mark.parametrize(
    "changes",
    [
        {"block_count": 0},
        {"block_count": -1},
        {"block_count": 2**62},
        {"block_count": "two"},
        {"attention.head_count": [1]},
        {"attention.head_count": 0, "attention.head_count_kv": 0},
        {"attention.head_count_kv": -3},
        {"embedding_length": None},
        {"attention.sliding_window": -5, "attention.sliding_window_pattern": 2},
    ],
)
def test_a_geometry_that_is_none(changes: dict[str, Any]) -> None:
    keys = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4}

    def found(more: dict[str, Any]) -> Attention | None:
        return attention.from_gguf({"general.architecture": "x", **{f"x.{k}": v for k, v in (keys | more).items()}})

    assert found({}) is not None
    assert found(changes) is None


def test_prediction_is_a_sum(tmp_path: Path) -> None:
    found = describe(model(tmp_path / "x.gguf"))
    told = described.memory(found, 512)
    assert told["total_bytes"] == told["weights_bytes"] + told["cache_bytes"] and told["prediction"] is True
    assert isinstance(found.header["tokenizer.ggml.tokens"], LongArray)
    shutil.rmtree(tmp_path)
