"""Checkpoints that are none, or not whole: one line that says what is wrong and what to do, and no file left behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from gguf import GGUFReader

import small_checkpoint
from edgequant import Error
from edgequant.cli import main
from edgequant.convert import gguf_write
from edgequant.convert.checkpoint import open_folder

DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model", n_shards=3, dtype="BF16")


def refused(folder: Path, said: str, *, advised: str = "") -> None:
    """Opening or converting ends in one line; neither a file nor a folder appears beside the checkpoint."""
    target = folder.parent / "out" / "x.gguf"
    job = {"folder": str(folder), "target": str(target), "format": "F16", "source": str(folder), "name": "n"}
    with pytest.raises(Error) as caught:
        gguf_write.write({**job, "revision": "r"}, lambda text: None)
    assert said in str(caught.value) and advised in caught.value.hint
    assert len((str(caught.value) + caught.value.hint).splitlines()) == 1
    left = [
        file for file in folder.parent.rglob("*") if folder not in file.parents and file not in (folder, target.parent)
    ]
    assert left == []


def rewritten(folder: Path, *, tied: bool = True, dtype: str = "F32", **changes: Any) -> Path:
    """The weights written anew, those named changed; None leaves one out."""
    weights = small_checkpoint.tensors(tied=tied)
    for name, change in changes.items():
        weights[name] = change(weights[name]) if callable(change) else change
    kept = {
        name: values.astype(small_checkpoint.DTYPES[dtype]) for name, values in weights.items() if values is not None
    }
    small_checkpoint.write_weights(folder, kept)
    return folder


# -- values


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [DOWN, "model.norm.weight", "model.embed_tokens.weight"])
def test_a_weight_that_is_no_number_is_named(folder: Path, dtype: str, value: float, name: str) -> None:
    def spoil(values: Any) -> Any:
        values.flat[-1] = value
        return values

    refused(rewritten(folder, dtype=dtype, **{name: spoil}), f"the tensor {name} holds values that are no finite")


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_weight_beyond_the_range_is_named_and_never_clipped(folder: Path, dtype: str) -> None:
    rewritten(folder, dtype=dtype, **{DOWN: lambda values: values * 1e6})
    with pytest.raises(Error, match=f"{DOWN} holds values beyond the range of F16"):
        job = {"folder": str(folder), "target": str(folder.parent / "x.gguf"), "format": "F16", "source": "s"}
        gguf_write.write({**job, "name": "n", "revision": "r"}, lambda text: None)
    assert not (folder.parent / "x.gguf").exists()


# -- tensors


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (DOWN, lambda values: values.T),
        (DOWN, lambda values: values[:-1]),
        (DOWN, lambda values: values.ravel()),
        ("model.norm.weight", lambda values: values[:-1]),
        ("model.layers.0.self_attn.k_proj.weight", lambda values: np.repeat(values, 2, axis=0)),
        ("model.embed_tokens.weight", lambda values: values[:-1]),
        ("model.embed_tokens.weight", lambda values: np.zeros((0, 32), dtype=np.float32)),
    ],
)
def test_a_wrong_shape(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    refused(rewritten(folder, **{name: change}), f"the tensor {name} has the shape")


def test_a_tensor_that_nothing_explains(folder: Path) -> None:
    refused(rewritten(folder, **{"model.layers.1.mystery.weight": np.ones((2, 2))}), "model.layers.1.mystery.weight")
    refused(
        rewritten(folder, **{"model.layers.2.input_layernorm.weight": np.ones(32)}), "model.layers.2.input_layernorm"
    )


def test_a_tensor_that_is_missing(folder: Path) -> None:
    refused(rewritten(folder, **{DOWN: None}), f"lacks the tensor {DOWN}", advised="not complete")


@pytest.mark.parametrize("dtype", [np.int8, np.int32, ml_dtypes.float8_e4m3fn])
def test_weights_of_a_type_that_holds_none(folder: Path, dtype: Any) -> None:
    weights: dict[str, Any] = small_checkpoint.tensors()
    weights[DOWN] = weights[DOWN].astype(dtype)
    small_checkpoint.write_weights(folder, weights)
    refused(folder, "weights of type ")


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    """Without an index: a file of another download lies among the model's."""
    (sharded / "model.safetensors.index.json").unlink()
    (sharded / "other.safetensors").write_bytes((sharded / "model-00001-of-00003.safetensors").read_bytes())
    refused(sharded, "twice, in model-00001-of-00003.safetensors and other.safetensors", advised="remove")


def test_a_tensor_in_two_shards_of_an_index(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").write_bytes(
        (sharded / "model-00001-of-00003.safetensors").read_bytes()
    )
    refused(sharded, "twice, in model-00001-of-00003.safetensors and model-00002-of-00003.safetensors")


def test_a_tensor_twice_in_one_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    row = json.dumps(json.loads(data[8 : 8 + length])["model.norm.weight"]).encode()
    text = data[8 : 8 + length].rstrip()[:-1] + b', "model.norm.weight": ' + row + b"}"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    refused(folder, "has model.norm.weight twice in its header")


def test_a_shard_that_lacks_what_the_index_places_there(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    values = small_checkpoint.read_json(index)
    values["weight_map"]["model.layers.9.x"] = "model-00002-of-00003.safetensors"
    small_checkpoint.write_json(index, values)
    refused(sharded, "model.layers.9.x in model-00002-of-00003.safetensors, which does not", advised="again")


# -- files


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / "model-00003-of-00003.safetensors").unlink()
    refused(sharded, "lacks the shard model-00003-of-00003.safetensors", advised="whole")


@pytest.mark.parametrize("kept", [0, 7, 100, -1, -1000])
def test_a_truncated_file(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(folder, "model.safetensors", advised="again")


def test_a_file_that_was_never_fetched(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / "model.safetensors").write_text(pointer)
    refused(folder, "is a pointer of Git LFS", advised="git lfs pull")


# -- configuration


@pytest.mark.parametrize("value", [None, [], "", {}, [None], [5], 7])
def test_a_configuration_without_architectures(folder: Path, value: Any) -> None:
    values = {key: each for key, each in small_checkpoint.CONFIG.items() if key not in ("architectures", "model_type")}
    small_checkpoint.write_json(folder / "config.json", values | ({} if value is None else {"architectures": value}))
    assert open_folder(folder).architecture == ""
    refused(folder, "architecture", advised="LlamaForCausalLM")


def test_one_architecture_that_stands_alone(folder: Path) -> None:
    small_checkpoint.write_json(folder / "config.json", small_checkpoint.config(architectures="LlamaForCausalLM"))
    assert open_folder(folder).architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("has_config", [False, True])
def test_an_adapter(folder: Path, has_config: bool) -> None:
    small_checkpoint.write_json(folder / "adapter_config.json", {"base_model_name_or_path": "org/parent"})
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    if not has_config:
        (folder / "config.json").unlink()
    refused(folder, "holds an adapter, not a model", advised="merge it into org/parent first")


def test_an_adapter_beside_a_model_is_left_alone(folder: Path) -> None:
    small_checkpoint.write_json(folder / "adapter_config.json", {})
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "adapter_model.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    assert len(open_folder(folder).tensors) == 20


# -- the command


def test_the_command_says_it_in_one_line(sharded: Path, tmp_path: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    result = CliRunner().invoke(
        main, ["-q", "convert", str(sharded), "--formats", "F16", "--out", str(tmp_path / "run")]
    )
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("edgequant: ") and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_numbers_that_are_none_pass_where_they_are_asked_for(folder: Path) -> None:
    def spoil(values: Any) -> Any:
        values[3, 5], values[4, 5] = np.nan, np.inf
        return values

    rewritten(folder, **{DOWN: spoil})
    out = folder.parent / "run"
    asked = ["convert", str(folder), "--formats", "F32", "--out", str(out), "--no-verify"]
    refused_ = CliRunner().invoke(main, asked)
    assert refused_.exit_code == 1 and "--allow-nan" in refused_.stderr
    assert CliRunner().invoke(main, [*asked, "--allow-nan"]).exit_code == 0
    made = {tensor.name: tensor for tensor in GGUFReader(out / "artifacts" / "model-F32.gguf").tensors}
    values = made["blk.1.ffn_down.weight"].data
    assert np.isnan(values[3, 5]) and np.isinf(values[4, 5]) and np.isfinite(values).sum() == values.size - 2
