"""ONNX artifacts: which way they are made, what was chosen for them, and how a conversion ends that cannot go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_checkpoint
from edgequant import Error, child
from edgequant.convert import conversion, makers
from edgequant.convert.artifact import Artifact, read_manifest
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.conversion import Workshop
from edgequant.convert.formats import FORMATS, find, with_smoothed
from edgequant.convert.fused import positions
from edgequant.convert.fused.expressible import obstacle
from edgequant.convert.fused.write import write
from edgequant.convert.onnx_header import read_header
from edgequant.convert.onnx_options import OnnxOptions, from_job

pytestmark = pytest.mark.usefixtures("natives_importable")
FP32, INT8 = FORMATS["onnx-fp32"], FORMATS["onnx-int8"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_folder(small_checkpoint.write(tmp_path / "model"))


def make(checkpoint: Checkpoint, name: str, folder: Path, **options: Any) -> Artifact:
    return conversion.convert(checkpoint, find(name), workshop(folder, **options))


def workshop(folder: Path, **options: Any) -> Workshop:
    return Workshop(folder=folder, threads=1, onnx=OnnxOptions(**options))


def test_our_own_graph_is_written_without_torch_or_onnx(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    assert set(artifact.made_by) == {"edgequant", "onnx", "onnxruntime"} and artifact.notes == (conversion.OWN_GRAPH,)
    operators = read_header(Path(artifact.path) / "model.onnx").operators
    layers = checkpoint.config["num_hidden_layers"]
    assert operators["GroupQueryAttention"] == layers and operators["MatMulNBits"] == 4 * layers + 1
    assert sorted(file.name for file in Path(artifact.path).iterdir() if not file.name.startswith("token")) == [
        *("config.json", "model.onnx", "model.onnx.data"),
    ]
    job = {"folder": str(checkpoint.path), "target": str(tmp_path / "again"), "format": "onnx-int8", "threads": 1}
    job["options"] = OnnxOptions().job()
    assert child.run("native:heavy_imports_of_writing", job).unwrap() == []


@pytest.mark.slow
def test_the_same_checkpoint_makes_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for name in ("onnx-fp32", "onnx-int8", "onnx-w8a8", "onnx-int8-static"):
        first, second = (make(checkpoint, name, tmp_path / folder) for folder in ("a", "b"))
        assert first.sha256 == second.sha256, name


def test_an_artifact_is_made_again_for_other_options_that_it_heeds(checkpoint: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    artifact = make(checkpoint, "onnx-int8", out)
    assert artifact.options == read_manifest(Path(artifact.path)).options == {"block_size": 32}
    assert conversion.existing(checkpoint, INT8, workshop(out, per_channel=False)) == artifact
    assert conversion.existing(checkpoint, INT8, workshop(out, block_size=16)) is None
    finer = make(checkpoint, "onnx-int8", out, block_size=16)
    assert finer.size_bytes > artifact.size_bytes and finer.options == {"block_size": 16}
    assert conversion.existing(checkpoint, INT8, workshop(out)) is None


def test_a_calibration_text_is_known_by_what_it_says(checkpoint: Checkpoint, tmp_path: Path) -> None:
    static, text = FORMATS["onnx-int8-static"], tmp_path / "text.txt"
    text.write_text("one two three " * 50)
    artifact = make(checkpoint, static.name, tmp_path / "out", calibration=text)
    text.write_text("four five six " * 50)
    assert conversion.existing(checkpoint, static, workshop(tmp_path / "out", calibration=text)) is None
    assert make(checkpoint, static.name, tmp_path / "out", calibration=text).sha256 != artifact.sha256
    with pytest.raises(Error, match=r"cannot read .*none\.txt: No such file"):
        make(checkpoint, static.name, tmp_path / "out", calibration=tmp_path / "none.txt")


@pytest.mark.parametrize("size", [0, 8, 48, 512])
def test_a_block_that_no_operator_takes(size: int) -> None:
    with pytest.raises(Error, match=f"a block of {size} weights is none"):
        OnnxOptions(block_size=size)


def test_options_survive_the_way_to_a_child(tmp_path: Path) -> None:
    text = tmp_path / "x"
    text.write_text("one")
    chosen = OnnxOptions(block_size=64, per_channel=False, calibration=text, reduce_range=True)
    again, static = from_job(json.loads(json.dumps(chosen.job()))), FORMATS["onnx-int8-static"]
    assert again == replace(chosen, calibration_digest=again.calibration_digest)
    text.unlink()  # what was made of it is still known
    assert again.heeded(static)["calibration"] == hashlib.sha256(b"one").hexdigest()[:16]
    with pytest.raises(Error, match="cannot read"):
        chosen.heeded(static)
    assert from_job({}) == OnnxOptions()


def test_smoothing_is_added_to_what_rounds_activations() -> None:
    names = ("Q8_0", "onnx-int8", "onnx-w8a8", "onnx-int8-dynamic")
    assert with_smoothed(names) == (
        *("Q8_0", "onnx-int8", "onnx-w8a8", "onnx-w8a8-smooth"),
        *("onnx-int8-dynamic", "onnx-int8-dynamic-smooth"),
    )


# -- what our own graph cannot hold


def test_other_layers_are_left_to_optimum(tmp_path: Path, checkpoint: Checkpoint) -> None:
    assert obstacle(checkpoint) == "" and makers.maker_of(checkpoint, FP32) == makers.WRITE_FUSED
    odd = small_checkpoint.config(num_attention_heads=8, num_key_value_heads=4)  # heads of 4 elements
    other = open_folder(small_checkpoint.write(tmp_path / "odd", config=odd))
    assert obstacle(other) == "ONNX Runtime's fused attention takes heads of a multiple of 8, not 4"
    scaled = small_checkpoint.write(tmp_path / "scaled", config=small_checkpoint.config(rope_scaling={"type": "?"}))
    assert obstacle(open_folder(scaled)).startswith("our own graph does not take it: config.json: rope scaling '?'")
    assert makers.maker_of(other, FP32) == makers.EXPORT_ONNX and makers.source_of(other, INT8) == FP32
    assert makers.maker_of(other, INT8) == makers.QUANTISE_ONNX
    with pytest.raises(Error, match="onnx-w8a8 cannot be made: ONNX Runtime's fused attention"):
        make(other, "onnx-w8a8", tmp_path / "out")


# -- how a conversion ends


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [n for n, fmt in FORMATS.items() if fmt.container == "onnx" and not fmt.smoothed])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    tensors = small_checkpoint.tensors()
    tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = value
    job = {"folder": str(small_checkpoint.write(tmp_path / "m", tensors=tensors)), "target": str(tmp_path / "x")}
    job |= {"format": name, "threads": 1, "options": OnnxOptions().job()}
    with pytest.raises(Error, match=r"holds values that are no finite numbers|says nothing|no finite numbers"):
        write(job, lambda text: None)
    assert not (tmp_path / "x").exists()
    if name == "onnx-fp32":  # which --allow-nan is for; nothing else has a scale for them
        write({**job, "allow_nan": True}, lambda text: None)
    else:
        with pytest.raises(Error, match="no finite numbers"):
            write({**job, "allow_nan": True}, lambda text: None)


def test_nothing_is_left_where_the_file_cannot_be_read_back(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "_copy_companions", full)
    with pytest.raises(Error, match="No space left on device"):
        make(checkpoint, "onnx-int8", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_second_run_with_other_options_keeps_what_it_does_not_ask_for(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    other = workshop(tmp_path / "out", block_size=16)
    assert conversion.existing(checkpoint, INT8, other) is None
    assert conversion.kept(checkpoint, INT8, other) == artifact


def test_nothing_is_left_where_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = small_checkpoint.tensors()
    tensors["model.embed_tokens.weight"] = np.ones((100_000, 32), np.float32)
    folder = small_checkpoint.write(
        tmp_path / "wide", tensors=tensors, config=small_checkpoint.config(vocab_size=100_000)
    )
    checkpoint = open_folder(folder)
    maker = makers.Maker(entry="native:writes_in_little_memory", packages=())
    monkeypatch.setattr(makers, "WRITE_FUSED", maker)
    with pytest.raises(conversion.Failed, match="memory") as caught:
        make(checkpoint, "onnx-w8a8", tmp_path / "out")
    assert caught.value.status == "oom" and list((tmp_path / "out").iterdir()) == []


def test_nothing_is_left_of_a_checkpoint_that_ends_too_early(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = checkpoint.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(Error, match="is truncated"):
        make(checkpoint, "onnx-int8", tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_context_that_is_longer_than_the_tables_of_positions_is_said_so(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "MOST_POSITIONS", 100)
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    assert artifact.notes[1:] == ("shorter context: 100 of 256 tokens are in its tables of positions",)
