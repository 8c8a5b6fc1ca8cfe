"""Opening a checkpoint: what is wrong with a bad one is said in one line, and a good one is known by its content."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_checkpoint
from edgequant import Error
from edgequant.convert.checkpoint import Checkpoint, QuantisedSource, open_folder
from edgequant.convert.safetensors_header import read_header
from edgequant.convert.source import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "sharded", n_shards=3, dtype="BF16")


def refusal(folder: Path) -> Error:
    """The error that opening ends in; it is one line and it says what to do."""
    with pytest.raises(Error) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_folder_is_opened_without_its_weights(folder: Path) -> None:
    opened, weights = open_folder(folder, source="given"), small_checkpoint.tensors()
    assert (opened.source, opened.name, opened.architecture, opened.dtype) == (
        "given",
        "model",
        "LlamaForCausalLM",
        "F32",
    )
    assert opened.n_parameters == sum(w.size for w in weights.values())
    assert opened.size_bytes == 4 * opened.n_parameters
    assert {name: t.shape for name, t in opened.tensors.items()} == {name: w.shape for name, w in weights.items()}
    assert opened.quantised_source is None and not opened.rescaled
    tensor = opened.tensors["model.layers.1.mlp.down_proj.weight"]
    data = tensor.file.read_bytes()[tensor.offset : tensor.offset + tensor.n_bytes]
    np.testing.assert_array_equal(np.frombuffer(data, "<f4").reshape(tensor.shape), weights[tensor.name])


def test_shards_are_one_checkpoint(folder: Path, sharded: Path) -> None:
    whole, parts = open_folder(folder), open_folder(sharded)
    assert {t.file.name for t in parts.tensors.values()} == {f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)}
    assert whole.tensors.keys() == parts.tensors.keys() and parts.dtype == "BF16"


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere")
    assert "does not exist" in str(error) and "GGUF" in error.hint


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    error = refusal(folder)
    assert "has no config.json" in str(error) and error.hint


def test_an_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    small_checkpoint.write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    error = refusal(folder)
    assert "adapter" in str(error) and "merge" in error.hint


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"architectures": \udc80'])
def test_a_configuration_that_does_not_read(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in str(refusal(folder))


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    error = refusal(sharded)
    assert "lacks the shard model-00002-of-00003.safetensors" in str(error) and error.hint


@pytest.mark.parametrize("name", ["../model/model.safetensors", "/model.safetensors", "sub/x.safetensors", "..", ""])
def test_an_index_that_names_files_elsewhere(folder: Path, sharded: Path, name: str) -> None:
    index = sharded / "model.safetensors.index.json"
    values = small_checkpoint.read_json(index)
    values["weight_map"]["model.norm.weight"] = name
    small_checkpoint.write_json(index, values)
    error = refusal(sharded)
    assert "outside its folder" in str(error) or "lacks the shard" in str(error)


@pytest.mark.parametrize("values", [{"weight_map": []}, {"weight_map": {}}, {}, {"weight_map": {"a": 5}}, [1]])
def test_an_index_that_is_none(sharded: Path, values: Any) -> None:
    small_checkpoint.write_json(sharded / "model.safetensors.index.json", values)
    refusal(sharded)


@pytest.mark.parametrize("missing", [1, 1000, "data", "header", "length"])
def test_a_truncated_file(folder: Path, missing: int | str) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    header_bytes = struct.unpack("<Q", data[:8])[0]
    kept = {"data": 8 + header_bytes, "header": 8 + header_bytes // 2, "length": 5}
    file.write_bytes(data[: kept[missing] if isinstance(missing, str) else -missing])
    error = refusal(folder)
    assert "truncated" in str(error) or "cut short" in str(error)
    assert "again" in error.hint


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no safetensors" in str(refusal(folder))


def header(file: Path, values: Any, *, data: bytes = bytes(64)) -> Path:
    """A safetensors file with this header and 64 bytes of data."""
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


@pytest.mark.parametrize("values", [b"{", b"[]", b"5", b"\xff\xfe{}", b"[" * 100_000])
def test_a_damaged_header(folder: Path, values: bytes) -> None:
    header(folder / "model.safetensors", values)
    assert "damaged header" in str(refusal(folder))


GOOD = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}


@pytest.mark.parametrize(
    "row",
    [
        {"dtype": "F32", "shape": [2, 5], "data_offsets": [0, 32]},
        {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 32]},
        {"dtype": "Q4", "shape": [2, 4], "data_offsets": [0, 32]},
        {"dtype": ["F32"], "shape": [2, 4], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": [2, 4], "data_offsets": [32, 0]},
        {"dtype": "F32", "shape": [2, 4], "data_offsets": [-8, 24]},
        {"dtype": "F32", "shape": [-2, -4], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": [2.0, 4], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": ["2", 4], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": 8, "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": [8]},
        {"dtype": "F32", "shape": [8], "data_offsets": [0]},
        {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]},
        "a text",
        None,
    ],
)
def test_a_tensor_that_is_described_wrongly(tmp_path: Path, row: Any) -> None:
    assert len(read_header(header(tmp_path / "good.safetensors", {"__metadata__": {}, "a": GOOD}))) == 1
    with pytest.raises(Error, match=r"bad\.safetensors"):
        read_header(header(tmp_path / "bad.safetensors", {"a": GOOD, "b": row}))


def test_a_header_that_claims_to_be_huge(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    for length in (2**63, 2**64 - 1, 0, 65):
        file.write_bytes(struct.pack("<Q", length) + bytes(64))
        with pytest.raises(Error, match="cut short"):
            read_header(file)


def change_weight(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def change_file(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        lambda folder: small_checkpoint.change_json(folder / "config.json", rope_theta=20000.0),
        lambda folder: small_checkpoint.change_json(folder / "tokenizer_config.json", eos_token="<|start|>"),
        change_file("generation_config.json", '{"eos_token_id": 7}'),
        change_file("chat_template.jinja", "{{ messages }}"),
        change_file("tokenizer.model", "x"),
    ],
)
def test_the_revision_follows_the_content(folder: Path, change: Callable[[Path], object]) -> None:
    before = open_folder(folder).revision
    assert before.startswith("sha256:") and len(before) == len("sha256:") + hashlib.sha256().digest_size * 2
    change(folder)
    assert open_folder(folder).revision != before


def test_the_revision_is_not_about_the_place(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "deep" / "another name"
    shutil.copytree(folder, elsewhere)
    (elsewhere / "README.md").write_text("a word about it")
    assert open_folder(elsewhere).revision == open_folder(folder).revision
    assert open_folder(elsewhere, revision="commit").revision == "commit"


def test_every_shard_counts_for_the_revision(sharded: Path) -> None:
    before = open_folder(sharded).revision
    (sharded / "model-00003-of-00003.safetensors").touch()
    assert open_folder(sharded).revision == before
    file = sharded / "model-00003-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    assert open_folder(sharded).revision != before


def test_provenance(folder: Path) -> None:
    origin = {"path": "there/model.Q4_1.gguf", "type": "Q4_1", "size_bytes": 123, "sha256": "abc"}
    small_checkpoint.write_json(
        folder / "edgequant.json", {"quantised_source": origin, "rescaled": True, "grid": "Q4_1"}
    )
    opened = open_folder(folder)
    assert opened.quantised_source == QuantisedSource(path="there/model.Q4_1.gguf", type="Q4_1", size_bytes=123)
    assert opened.rescaled
    small_checkpoint.write_json(folder / "edgequant.json", {"rescaled": False})
    opened = open_folder(folder)
    assert opened.quantised_source is None and not opened.rescaled


def test_the_type_is_the_one_of_most_weights(tmp_path: Path) -> None:
    folder = small_checkpoint.write(tmp_path / "mixed", dtype="F16")
    weights = {
        name: w.astype(np.float32 if "norm" in name else np.float16) for name, w in small_checkpoint.tensors().items()
    }
    small_checkpoint.write_weights(folder, weights)
    assert open_folder(folder).dtype == "F16"


def test_what_a_user_may_name(folder: Path, tmp_path: Path) -> None:
    opened: Checkpoint = open_source(str(folder), workspace=tmp_path / "w")
    assert opened.source == str(folder) and not (tmp_path / "w").exists()
    (tmp_path / "file.txt").write_text("x")
    for named, said in (
        (tmp_path / "file.txt", "can be opened"),
        (tmp_path / "no" / "such" / "folder", "does not exist"),
    ):
        with pytest.raises(Error, match=said) as caught:
            open_source(str(named), workspace=tmp_path / "w")
        assert caught.value.hint
