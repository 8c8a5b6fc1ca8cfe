"""A small bundle without any engine: a tokenizer, two files that stand for artifacts, rows, a compact reference."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import recorded
import small_checkpoint
from edgequant.accuracy import compact
from edgequant.accuracy.compact import CompactReference
from edgequant.convert.artifact import Artifact, digest_of, write_manifest
from edgequant.export.bundle import Contents
from edgequant.profiles.records.measurement import Measurement

REVISION = "sha256:5b1f0a"


def artifact(folder: Path, name: str, content: bytes) -> Artifact:
    """An artifact with a file (or, for ONNX, a folder) of these bytes and its manifest."""
    onnx = name.startswith("onnx")
    path = folder / (f"model-{name}" if onnx else f"model-{name}.gguf")
    file = path / "model.onnx" if onnx else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    made = recorded.artifact(name, path=str(path), sha256=digest_of(path), size_bytes=len(content))
    write_manifest(made)
    return made


def quality(of: Artifact, **changes: Any) -> list[Measurement]:
    """Rows of the artifact's quality: two windows and two items."""
    samples = {"kl_divergence": [0.01, 0.02], "accuracy": [1.0, 0.0], "negative_log_likelihood": [2.0, 2.5]}
    parameters = {"reference": recorded.REFERENCE, "items": ["a", "b"]}
    values = {"artifact_sha256": of.sha256, "parameters": parameters, **changes}
    return [recorded.measurement(of.format, metric, given, **values) for metric, given in samples.items()]


def described(folder: Path) -> dict[str, Any]:
    """run.json of a run that was asked for with paths of this machine."""
    source = {"path": str(folder / "weights.Q4_1.gguf"), "type": "Q4_1", "size_bytes": 5}
    return {
        "schema": 1,
        "source": str(folder / "checkpoint"),
        "formats": ["Q8_0", "onnx-int8-dynamic"],
        "tasks": [str(folder / "mine.jsonl")],
        "device": asdict(recorded.device()),
        "context": 512,
        "verified": True,
        "converter": str(folder / "llama.cpp"),
        "command": f"edgequant run {folder}",
        "checkpoint": {
            "name": "small",
            "revision": REVISION,
            "n_parameters": 1000,
            "architecture": "LlamaForCausalLM",
            "dtype": "F32",
            "quantised_source": source,
            "rescaled": False,
            "grid": "",
        },
        "versions": {"edgequant": "0.1.0"},
        "prepared": {"n_tokens": 80, "n_items": 2, "n_left_out": 0, "chance": 0.5},
        "reference": recorded.REFERENCE,
        "not_evaluated": "",
    }


def contents(folder: Path) -> Contents:
    """Everything that `write` takes, laid out below `folder` as a run has it."""
    artifacts = folder / "artifacts"
    made = [artifact(artifacts, "Q8_0", b"eight bits"), artifact(artifacts, "onnx-int8-dynamic", b"a graph")]
    reference = artifact(artifacts, recorded.REFERENCE, b"sixteen bits")
    checkpoint = folder / "checkpoint"
    small_checkpoint.write_tokenizer(checkpoint)
    small_checkpoint.write_json(checkpoint / "config.json", small_checkpoint.config(_name_or_path=str(checkpoint)))
    prepared, task = folder / "prepared.json", folder / "mine.jsonl"
    prepared.write_text(json.dumps({"folder": str(checkpoint), "windows": [[1, 2]], "items": []}), encoding="utf-8")
    task.write_text("{}\n", encoding="utf-8")
    one = CompactReference(
        ids=np.zeros((2, 1), np.uint16),
        codes=np.zeros((2, 1), np.uint16),
        least=np.full(2, -1e-6, np.float32),
        tau=np.zeros(2, np.float32),
        top_tokens=np.zeros(2, np.int32),
        key="of the reference",
    )
    compact.write(one, folder / "reference.npz")
    return Contents(
        described=described(folder),
        artifacts=made,
        reference=replace(reference, notes=("kept for comparison",)),
        reference_rows=quality(reference),
        compact=folder / "reference.npz",
        prepared=prepared,
        prepared_digest="0123456789abcdef",
        checkpoint=checkpoint,
        tasks=[task],
        plan={"predicted": True, "formats": []},
        trained_context=256,
        n_vocab=320,
    )
