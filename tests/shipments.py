"""A run to export from, without any engine: files that stand for artifacts, rows, and a checkpoint with its papers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import recorded
import small_checkpoint
from edgequant.convert.artifact import Artifact, digest_of, write_manifest
from edgequant.convert.checkpoint import open_folder
from edgequant.profiles.records.run_folder import RunFolder

CARD = "---\nlicense: apache-2.0\nlanguage: [en, no]\ntags: [chat]\npipeline_tag: text-generation\n---\n# small\n"


def run(folder: Path, *, card: str = CARD, name: str = "small", **described: Any) -> RunFolder:
    """The run in `folder`/run of the checkpoint in `folder`/checkpoint: F16, Q8_0 and onnx-int8-dynamic."""
    checkpoint = small_checkpoint.write(folder / "checkpoint")
    small_checkpoint.change_json(checkpoint / "tokenizer_config.json", chat_template=small_checkpoint.TEMPLATE)
    (checkpoint / "README.md").write_text(card, encoding="utf-8", errors="surrogateescape")
    (checkpoint / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n", encoding="utf-8")
    made = RunFolder(folder / "run")
    revision = open_folder(checkpoint).revision
    for format_name in (recorded.REFERENCE, "Q8_0", "onnx-int8-dynamic"):
        _artifact(made, format_name, revision, name, checkpoint)
    values = bundles.described(folder)
    values["checkpoint"] |= {"revision": revision, "name": name, "quantised_source": None}
    values |= {"source": str(checkpoint), "reference": recorded.REFERENCE, **described}
    made.description.write_text(json.dumps(values), encoding="utf-8")
    return made


def _artifact(run: RunFolder, format_name: str, revision: str, name: str, checkpoint: Path) -> Artifact:
    is_onnx = format_name.startswith("onnx")
    made = bundles.artifact(run.artifacts, format_name, format_name.encode() if is_onnx else gguf_bytes())
    if format_name == recorded.REFERENCE:  # the larger file, so that it is not the pick
        Path(made.path).write_bytes(Path(made.path).read_bytes() + bytes(100))
    path = Path(made.path)
    if path.is_dir():  # as an ONNX artifact has it
        for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
            (path / file).write_bytes((checkpoint / file).read_bytes())
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    changes = {"checkpoint": name, "checkpoint_revision": revision, "sha256": digest_of(path), "size_bytes": size}
    made = replace(made, **changes)
    write_manifest(made)
    run.store().append([replace(row, artifact_sha256=made.sha256) for row in _rows(format_name)])
    return made


def gguf_bytes(*, adds_bos: bool = False, model: str = "gpt2") -> bytes:
    """A GGUF of a header alone, which says what is added to a text."""
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder) / "x.gguf", "llama")
        writer.add_tokenizer_model(model)
        writer.add_add_bos_token(adds_bos)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return (Path(folder) / "x.gguf").read_bytes()


def _rows(format_name: str) -> list[Any]:
    divergence = {"F16": 0.0, "Q8_0": 0.005, "onnx-int8-dynamic": 0.6}[format_name]
    samples = {
        "kl_divergence": [divergence, divergence * 1.1],
        "accuracy": [1.0, 0.0, 1.0, 1.0],
        "negative_log_likelihood": [2.0, 2.5],
        "decode_tokens_per_second": [140.0, 141.0, 139.0],
        "prefill_tokens_per_second": [590.0, 600.0, 580.0],
        "peak_rss_bytes": [200e6],
    }
    parameters = {"reference": recorded.REFERENCE, "items": ["a", "b", "c", "d"], "threads": 2, "context": 512}
    return [
        recorded.measurement(format_name, metric, given, parameters=parameters) for metric, given in samples.items()
    ]
