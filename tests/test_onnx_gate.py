"""The gate on quantised ONNX: it passes for every format of every family, and sees what is damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import small_checkpoint
from decoders import DECODERS, TOKENS, transformers_makes
from edgequant import Error, child
from edgequant.convert import conversion, rescaled_copy
from edgequant.convert.artifact import Artifact
from edgequant.convert.calibration import smoothquant
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.conversion import Workshop
from edgequant.convert.formats import FORMATS
from edgequant.convert.rescale import sites
from edgequant.runtimes.session import Settings

NAMES = ("llama", "llama-biases", "mistral-window", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "smollm3",
         "granite", "olmo2")  # fmt: skip
QUANTISED = [name for name, fmt in FORMATS.items() if fmt.container == "onnx" and name != "onnx-fp32"]
SETTINGS = Settings(threads=1, context=256, exact=True).to_json()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of every family."""
    folder = tmp_path_factory.mktemp("families")
    models = {name: {"class": DECODERS[name].kind, "config": DECODERS[name].config} for name in NAMES}
    transformers_makes({"folder": str(folder), "tokens": TOKENS, "seed": 11, "models": models})
    for name in NAMES:
        small_checkpoint.write_tokenizer(folder / name)
    return folder


def make(checkpoint: Checkpoint, name: str, folder: Path) -> Artifact:
    """The artifact; a smoothed one of a checkpoint rescaled by arbitrary factors."""
    workshop = Workshop(folder=folder, threads=1)
    if not FORMATS[name].smoothed:
        return conversion.convert(checkpoint, FORMATS[name], workshop)
    draw, factors = np.random.default_rng(5), folder / "factors.safetensors"
    folder.mkdir(exist_ok=True)
    found = {
        site.name: np.exp(draw.uniform(-1, 1, site.n_channels)).astype(np.float32) for site in sites(checkpoint.config)
    }
    smoothquant.save(factors, found)
    with rescaled_copy.lent(checkpoint, factors, folder / "copy") as copy:
        return conversion.convert(copy, FORMATS[name], workshop)


def weights(artifact: Artifact, checkpoint: Checkpoint) -> dict[str, Any]:
    smoothed = bool(FORMATS[artifact.format].smoothed)
    job = {"path": artifact.path, "reference": "", "folder": str(checkpoint.path), "smoothed": smoothed}
    found: dict[str, Any] = child.run("edgequant.verify.onnx_weights:check", job).unwrap()
    return found


def kernels(artifact: Artifact) -> dict[str, Any]:
    job = {"container": "onnx", "path": artifact.path, "tokens": TOKENS[:40], "settings": SETTINGS}
    found: dict[str, Any] = child.run("edgequant.verify.onnx_products:check", job).unwrap()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("format", QUANTISED)
@pytest.mark.parametrize("name", NAMES)
def test_every_format_of_every_family_passes(made: Path, tmp_path: Path, name: str, format: str) -> None:
    checkpoint = open_folder(made / name)
    artifact = make(checkpoint, format, tmp_path / "out")
    for found in (weights(artifact, checkpoint), kernels(artifact)):
        assert found["verdict"] == "passed", found["said"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "falcon"])
def test_what_optimum_exports_passes_too(tmp_path: Path, name: str) -> None:
    models = {name: {"class": DECODERS[name].kind, "config": DECODERS[name].config}}
    transformers_makes({"folder": str(tmp_path), "tokens": TOKENS, "seed": 11, "models": models})
    small_checkpoint.write_tokenizer(tmp_path / name)
    checkpoint, workshop = open_folder(tmp_path / name), Workshop(folder=tmp_path / "out", threads=1)
    exact = conversion.convert(checkpoint, FORMATS["onnx-fp32"], workshop)
    assert exact.notes[0].startswith("exported by Optimum: our own graph does not know the layers of")
    for format in ("onnx-int8", "onnx-int8-dynamic"):
        artifact = conversion.convert(checkpoint, FORMATS[format], workshop)
        job = {"path": artifact.path, "reference": exact.path, "folder": str(checkpoint.path), "smoothed": False}
        for found in (child.run("edgequant.verify.onnx_weights:check", job).unwrap(), kernels(artifact)):
            assert found["verdict"] == "passed", found["said"]


# -- what is damaged


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_folder(small_checkpoint.write(tmp_path / "model"))


def change_graph(artifact: Artifact, change: Callable[[Any], None]) -> None:
    """The graph with one thing about it changed; its data stay where they are."""
    file = Path(artifact.path) / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    change(model)
    file.write_bytes(model.SerializeToString())


def change_data(artifact: Artifact, name: str, change: Callable[[bytes], bytes]) -> None:
    """The bytes of one tensor changed."""
    folder = Path(artifact.path)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    place = {entry.key: entry.value for entry in tensor.external_data}
    data = bytearray((folder / "model.onnx.data").read_bytes())
    start, length = int(place["offset"]), int(place["length"])
    data[start : start + length] = change(bytes(data[start : start + length]))
    (folder / "model.onnx.data").write_bytes(data)


def reversed_rows(data: bytes) -> bytes:
    return np.frombuffer(data, np.uint8).reshape(32, -1)[::-1].tobytes()


def test_rows_in_another_order_are_seen(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    assert weights(artifact, checkpoint)["verdict"] == "passed"
    change_data(artifact, "blk.1.attn_output.weight.blocks", reversed_rows)
    found = weights(artifact, checkpoint)
    assert found["verdict"] == "failed" and found["said"].startswith("blk.1.attn_output.weight")


@pytest.mark.slow
def test_factors_that_do_not_cancel_are_seen(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A checkpoint whose norm was divided, and whose products were not multiplied, computes something else."""
    tensors = small_checkpoint.tensors()
    tensors["model.layers.0.input_layernorm.weight"] *= np.linspace(0.5, 2, 32, dtype=np.float32)
    other = open_folder(small_checkpoint.write(tmp_path / "other", tensors=tensors))
    artifact = conversion.convert(other, FORMATS["onnx-w8a8-smooth"], Workshop(folder=tmp_path / "out", threads=1))
    assert weights(artifact, other)["verdict"] == "passed"
    assert weights(artifact, checkpoint)["verdict"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model.layers.0.input_layernorm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_channels_that_are_nothing_are_smoothed_all_the_same(tmp_path: Path, what: str) -> None:
    tensors = small_checkpoint.tensors()
    tensors[what][3] = 0
    checkpoint = open_folder(small_checkpoint.write(tmp_path / "m", tensors=tensors))
    found = weights(make(checkpoint, "onnx-w8a8-smooth", tmp_path / "out"), checkpoint)
    assert found["verdict"] == "passed", found["said"]


def drop_node(model: Any) -> None:
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "QuickGelu"))


def rename_operator(model: Any) -> None:
    next(node for node in model.graph.node if node.op_type == "QuickGelu").op_type = "SlowGelu"


def point_beyond_the_file(model: Any) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    next(entry for entry in tensor.external_data if entry.key == "offset").value = str(2**40)


@pytest.mark.slow
@pytest.mark.parametrize("change", [drop_node, rename_operator, point_beyond_the_file])
def test_a_damaged_graph_ends_in_one_line(
    checkpoint: Checkpoint, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    change_graph(artifact, change)
    refused(artifact)


@pytest.mark.parametrize("keep", [0, 0.5])
def test_data_that_end_too_early_end_in_one_line(checkpoint: Checkpoint, tmp_path: Path, keep: float) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    file = Path(artifact.path) / "model.onnx.data"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])
    refused(artifact)
    file.unlink()
    refused(artifact)


def refused(artifact: Artifact) -> None:
    job = {"container": "onnx", "path": artifact.path, "tokens": TOKENS[:8], "settings": SETTINGS, "target": "x"}
    outcome = child.run("edgequant.verify.logits:artifact_logits", job)
    assert outcome.status == "error" and "onnxruntime cannot load" in outcome.note and "\n" not in outcome.note
    with pytest.raises(Error, match=r".+"):
        outcome.unwrap()


def test_a_folder_without_its_graph(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "onnx-int8", tmp_path / "out")
    shutil.rmtree(artifact.path)
    refused(artifact)
