"""Quantised checkpoints of whole architectures: the GGUF holds what others dequantise, and computes the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

import quantised
import small_checkpoint
from decoders import DECODERS, TOKENS, transformers_makes
from edgequant import Error, child
from edgequant.convert import conversion, gguf_write, plain_copy, small_floats
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from edgequant.runtimes.session import Settings
from edgequant.verify.gate import Circumstances, Gate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("natives_importable")]

BLOCK = [24, 40]  # divides no size of the models
FP8 = {"quant_method": "fp8", "weight_block_size": BLOCK, "modules_to_not_convert": ["lm_head"]}
CHANNELS = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "ignore": ["lm_head", "re:.*gate$"],
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
_BLOCKS = quantised.float8((BLOCK[0], BLOCK[1]), "weight_scale_inv")
_ROWS = quantised.float8((1, 10**6), "weight_scale")
#: decoder -> how it is quantised; rows that the router chooses by are left as they are, as everybody does
MODELS: dict[str, tuple[dict[str, Any], quantised.Quantiser]] = {
    "llama": (FP8, _BLOCKS),
    "llama-tied": (CHANNELS, _ROWS),
    "phi3": (FP8, _BLOCKS),
    "mixtral-all": (FP8, _BLOCKS),
    "qwen3-moe-all": (CHANNELS, _ROWS),
    "gpt-oss-all": (MXFP4, quantised.mxfp4("_blocks", "_scales", blocked=True)),
}
GOLDEN = """
import json, sys, torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
codes = torch.arange(256, dtype=torch.uint8)
found = {
    "F8_E4M3": codes.view(torch.float8_e4m3fn).float().tolist(),
    "F8_E5M2": codes.view(torch.float8_e5m2).float().tolist(),
    "F8_E8M0": codes.view(torch.float8_e8m0fnu).float().tolist(),
}
blocks = codes.view(1, 4, 4, 16)  # an expert's matrix of 4 rows, 4 blocks of 32 weights in each
scales = torch.tensor([[[120, 127, 130, 134]] * 4], dtype=torch.uint8)
found["MXFP4"] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)[0].T.tolist()
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each decoder the folders NAME (random weights), NAME-packed, and NAME-plain: what that one stands for."""
    folder = tmp_path_factory.mktemp("decoders")
    models = {name: {"class": DECODERS[name].kind, "config": DECODERS[name].config} for name in MODELS}
    transformers_makes({"folder": str(folder), "tokens": TOKENS, "seed": 7, "models": models})
    for name, (stated, quantise) in MODELS.items():
        pack(folder, name, stated, quantise)
    return folder


def pack(folder: Path, name: str, stated: dict[str, Any], quantise: quantised.Quantiser) -> None:
    config = small_checkpoint.read_json(folder / name / "config.json")
    tensors = load_file(folder / name / "model.safetensors")
    stored: quantised.Stored = {}
    plain: dict[str, Any] = {}
    for key, values in tensors.items():
        if not is_packed(key):
            packed, plain[key] = quantised.plain(key, values), values
        elif values.ndim == 3:  # GPT-OSS: rows first when packed, columns first when not
            packed, meant = quantise(key, np.ascontiguousarray(values.swapaxes(1, 2)))
            plain[key] = np.ascontiguousarray(meant.swapaxes(1, 2))
        else:
            packed, plain[key] = quantise(key, values)
        stored |= packed
    for ending, written in (("packed", {**config, "quantization_config": stated}), ("plain", config)):
        target = folder / f"{name}-{ending}"
        small_checkpoint.write_tokenizer(target)
        small_checkpoint.write_json(target / "config.json", written)
    quantised.save(folder / f"{name}-packed" / "model.safetensors", stored)
    small_checkpoint.write_weights(folder / f"{name}-plain", plain)


def is_packed(name: str) -> bool:
    """Matrices of attention, feed-forward part and experts, and no router."""
    return name.endswith(("proj.weight", "w1.weight", "w2.weight", "w3.weight", "experts.gate_up_proj", "down_proj"))


def converted(folder: Path, format: str) -> Path:
    target = folder.with_name(f"{folder.name}-{format}.gguf")
    job = {"folder": str(folder), "target": str(target), "format": format, "source": "", "name": "n", "revision": "r"}
    gguf_write.write(job, lambda _: None)
    return target


@pytest.mark.parametrize("name", list(MODELS))
def test_tensors_are_those_of_the_plain_checkpoint(made: Path, name: str) -> None:
    assert (made / f"{name}-packed" / "model.safetensors").stat().st_size < 0.8 * (
        made / f"{name}-plain" / "model.safetensors"
    ).stat().st_size
    for format in ("F32", "F16"):
        ours = {t.name: t.data for t in GGUFReader(converted(made / f"{name}-packed", format)).tensors}
        theirs = {t.name: t.data for t in GGUFReader(converted(made / f"{name}-plain", format)).tensors}
        assert ours.keys() == theirs.keys()
        for tensor, values in theirs.items():
            np.testing.assert_array_equal(ours[tensor], values, err_msg=tensor)


@pytest.fixture(scope="module")
def differences(made: Path) -> dict[str, float]:
    """How far llama.cpp on the packed checkpoint is from transformers on the plain one, and on the random one."""
    jobs: list[dict[str, Any]] = []
    for name in MODELS:
        logits = made / f"{name}-plain.npy"
        job = {"folder": str(made / f"{name}-plain"), "tokens": TOKENS, "target": str(logits), "threads": 1}
        child.run("edgequant.verify.logits:checkpoint_logits", job).unwrap()
        path = converted(made / f"{name}-packed", "F32")
        for file in (logits, made / f"{name}.npy"):
            jobs.append({"path": str(path), "logits": str(file), "tokens": TOKENS, "context": 256})
    found = child.run("native:compare_logits", {"files": jobs}).unwrap()
    return {Path(job["logits"]).stem: value for job, value in zip(jobs, found, strict=True)}


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_logits(differences: dict[str, float], name: str) -> None:
    assert differences[f"{name}-plain"] < DECODERS[name].limit
    assert differences[name] > 100 * DECODERS[name].limit  # otherwise nothing was quantised


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """torch's casts, and transformers' own dequantisation of MXFP4."""
    done = subprocess.run([sys.executable, "-c", GOLDEN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_every_code_is_what_torch_casts_it_to(golden: dict[str, Any], dtype: str) -> None:
    ours = small_floats.decode(np.arange(256, dtype=np.uint8), dtype)
    np.testing.assert_array_equal(ours, np.array(golden[dtype], dtype=np.float32))


def test_mxfp4_is_what_transformers_makes_of_it(golden: dict[str, Any]) -> None:
    scales = np.ldexp(1.0, np.array([120, 127, 130, 134]) - 127)
    values = small_floats.decode(np.arange(256, dtype=np.uint8), "F4_E2M1").reshape(4, 4, 32) * scales[None, :, None]
    np.testing.assert_array_equal(values.reshape(4, 128), np.array(golden["MXFP4"]))


# -- what transformers and Optimum need: they read no such weights without a GPU


@pytest.mark.parametrize("name", ["llama", "qwen3-moe-all", "gpt-oss-all"])
def test_the_gate_compares_with_the_dequantised_checkpoint(made: Path, tmp_path: Path, name: str) -> None:
    checkpoint = open_folder(made / f"{name}-packed")
    workshop = conversion.Workshop(folder=tmp_path / "artifacts", threads=1)
    artifact = conversion.convert(checkpoint, FORMATS["F32"], workshop)
    scratch = tmp_path / "scratch"
    gate = Gate(checkpoint, Circumstances(threads=1, free_bytes=8e9, scratch=scratch))
    finding = gate.check(artifact)["logits"]
    assert finding.verdict == "passed" and "the checkpoint in transformers" in finding.said, finding
    assert not (scratch / "float32").exists()


def test_optimum_exports_the_dequantised_checkpoint(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "llama-packed", tmp_path / "llama")
    checkpoint = open_folder(folder)
    workshop = conversion.Workshop(folder=tmp_path / "artifacts", threads=1)
    artifact = conversion.convert(checkpoint, FORMATS["onnx-fp32"], workshop)
    assert artifact.tensor_types.keys() == {"float32"}
    job = {"container": "onnx", "path": artifact.path, "tokens": TOKENS, "logits": str(made / "llama-plain.npy")}
    plain = {"folder": str(made / "llama-plain"), "tokens": TOKENS, "target": job["logits"], "threads": 1}
    child.run("edgequant.verify.logits:checkpoint_logits", plain).unwrap()
    settings = Settings(threads=1, context=256, exact=True).to_json()
    found = child.run("edgequant.verify.logits:compare_logits", {**job, "settings": settings}).unwrap()
    assert found["largest_difference"] < 5e-5
    assert sorted(file.name for file in (tmp_path / "artifacts").iterdir()) == [
        "llama-onnx-fp32",
        "llama-onnx-fp32.manifest.json",
    ]


def test_a_disk_without_room_for_the_copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = open_folder(made / "llama-packed")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(plain_copy.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(Error, match=r"takes 0\.0 GB, 0\.0 GB are free"), plain_copy.lent(checkpoint, tmp_path / "x"):
        pass
    assert not (tmp_path / "x").exists()
    with plain_copy.lent(open_folder(made / "llama-plain"), tmp_path / "x") as same:
        assert same.path == made / "llama-plain" and not (tmp_path / "x").exists()
