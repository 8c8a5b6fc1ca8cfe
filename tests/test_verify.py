"""The gate: a faithful artifact passes, and one that was damaged on purpose fails in the part that was damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from damage import flipped, rewritten, swapped
from edgequant import Error, child, pipeline
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.inspection import inspect_gguf
from edgequant.pipeline import Run
from edgequant.profiles.device import load
from edgequant.profiles.records.request import Request
from edgequant.verify.finding import FAILED, NOT_CHECKED, PASSED, WARNING, Finding, found
from edgequant.verify.gate import Circumstances, Gate
from edgequant.verify.kernels import dequantised_rows

END = "<|im_end|>\n"  # what the pocket model's template writes behind an answer
WORDS = ("tokenizer", "template", "special ids")


@pytest.fixture(scope="module")
def checkpoint(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The pocket model, whose ends of an answer are those that llama.cpp knows."""
    folder = Path(shutil.copytree(pocket_folder, tmp_path_factory.mktemp("checkpoint") / "model"))
    small_checkpoint.change_json(folder / "generation_config.json", eos_token_id=3)
    return open_folder(folder)


@pytest.fixture(scope="module")
def made(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    names = ("F16", "Q6_K", "Q4_K_M", "Q3_K_M")
    asked = Request(
        source=str(checkpoint.path),
        out=tmp_path_factory.mktemp("made") / "run",
        device=load("host"),
        context=256,
        formats=names,
    )
    job = Run(request=asked, listen=lambda *_: None)
    job.convert()
    return {artifact.format: artifact for artifact in job.artifacts()}


@pytest.fixture(scope="module")
def gate(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The checkpoint's own side is computed once for all tests."""
    return Gate(checkpoint, Circumstances(threads=1, free_bytes=8e9, scratch=tmp_path_factory.mktemp("scratch")))


def damaged(artifact: Artifact, folder: Path, **changes: Any) -> Artifact:
    path = rewritten(Path(artifact.path), folder / "damaged.gguf", **changes)
    return Artifact(**{**vars(artifact), "path": str(path), "tensor_types": inspect_gguf(path).tensor_types})


def of_part(part: str, artifact: Artifact, gate: Gate) -> Finding:
    """What one part of the gate says, without the others."""
    if part == "template":
        return gate._templates.check(artifact.container, artifact.path)
    module = {"tokenizer": "tokens", "special ids": "special_ids"}[part]
    job = {"container": artifact.container, "path": artifact.path, "folder": str(gate._checkpoint.path), "end": END}
    return found(child.run(f"edgequant.verify.{module}:check", job))


def verdicts(findings: Mapping[str, Finding]) -> dict[str, str]:
    return {what: finding.verdict for what, finding in findings.items()}


def test_a_faithful_artifact_passes(made: dict[str, Artifact], gate: Gate) -> None:
    findings = gate.check(made["F16"])
    assert verdicts(findings) == dict.fromkeys((*WORDS, "logits"), PASSED), findings
    assert len(findings["tokenizer"].samples) > 300 and set(findings["tokenizer"].samples) == {1.0}
    assert len(findings["template"].samples) >= 12
    assert "transformers" in findings["template"].said
    assert max(findings["logits"].samples) < 1e-3 and len(findings["logits"].samples) == 256


@pytest.mark.slow
def test_a_copy_without_damage_passes(made: dict[str, Artifact], gate: Gate, tmp_path: Path) -> None:
    """Otherwise the damage below might be that of the copying."""
    assert set(verdicts(gate.check(damaged(made["F16"], tmp_path))).values()) == {PASSED}


@pytest.mark.parametrize(
    ("part", "metadata", "said"),
    [
        ("tokenizer", {"tokenizer.ggml.tokens": swapped("t", "h")}, "instead of"),
        pytest.param("tokenizer", {"tokenizer.ggml.pre": "default"}, "instead of", marks=pytest.mark.slow),
        pytest.param("tokenizer", {"tokenizer.ggml.model": "llama"}, "died of SIGABRT", marks=pytest.mark.slow),
        ("template", {"tokenizer.chat_template": lambda text: text.replace("\n", " ", 1)}, "at character"),
        pytest.param("template", {"tokenizer.chat_template": None}, "lacks the template", marks=pytest.mark.slow),
        pytest.param("template", {"tokenizer.chat_template": "{% for x in y"}, "not rendered", marks=pytest.mark.slow),
        ("special ids", {"tokenizer.ggml.bos_token_id": 7}, "BOS is 7 instead of 0"),
        pytest.param(
            "special ids", {"tokenizer.ggml.eos_token_id": 8}, "EOS is 8 instead of 3", marks=pytest.mark.slow
        ),
        pytest.param(
            "special ids", {"tokenizer.ggml.padding_token_id": 9}, "PAD is 9 instead of 1", marks=pytest.mark.slow
        ),
        pytest.param(
            "special ids", {"tokenizer.ggml.eot_token_id": 10}, "EOT is 10 instead of 3", marks=pytest.mark.slow
        ),
        pytest.param(
            "special ids", {"tokenizer.ggml.add_bos_token": True}, "with special tokens is", marks=pytest.mark.slow
        ),
    ],
)
def test_damaged_words(
    made: dict[str, Artifact], gate: Gate, tmp_path: Path, part: str, metadata: dict[str, Any], said: str
) -> None:
    finding = of_part(part, damaged(made["F16"], tmp_path, metadata=metadata), gate)
    assert finding.verdict == FAILED
    assert said in finding.said
    assert 0.0 in finding.samples or "died" in finding.said


@pytest.mark.slow
def test_what_writes_an_answer_ends_it_and_parts_do_not_mix(
    made: dict[str, Artifact], gate: Gate, tmp_path: Path
) -> None:
    template = {"tokenizer.chat_template": lambda text: text.replace("\n", " ", 1)}
    findings = gate._of_words(damaged(made["F16"], tmp_path, metadata=template))
    assert findings["template"].verdict == FAILED and findings["tokenizer"].verdict == PASSED
    assert gate._templates.end_of_answer() == END


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": {"blk.1.attn_q.weight": flipped}},
        pytest.param({"metadata": {"llama.rope.freq_base": 20000.0}}, marks=pytest.mark.slow),
    ],
    ids=["bits", "rotary base"],
)
def test_damaged_logits(made: dict[str, Artifact], gate: Gate, tmp_path: Path, changes: dict[str, Any]) -> None:
    findings = gate.check(damaged(made["F16"], tmp_path, **changes))
    assert findings["logits"].verdict == FAILED, findings["logits"]
    assert {findings[part].verdict for part in WORDS} == {PASSED}


@pytest.mark.slow
def test_quantised_artifacts_pass(made: dict[str, Artifact], gate: Gate) -> None:
    for name in ("Q6_K", "Q4_K_M", "Q3_K_M"):
        findings = gate.check(made[name], among=list(made.values()))
        assert verdicts(findings) == dict.fromkeys((*WORDS, "logits", "weights", "kernels"), PASSED), findings
        assert "from F16" in findings["logits"].said


@pytest.mark.slow
def test_a_damaged_quantised_artifact_fails(made: dict[str, Artifact], gate: Gate, tmp_path: Path) -> None:
    wrong = damaged(made["Q4_K_M"], tmp_path, tensors={"blk.2.ffn_up.weight": flipped})
    findings = gate.check(wrong, among=list(made.values()))
    assert findings["weights"].verdict == FAILED and "blk.2.ffn_up.weight" in findings["weights"].said
    assert findings["logits"].verdict == FAILED and "bits a weight lead one to expect" in findings["logits"].said


@pytest.mark.slow
def test_a_kernel_that_is_wrong_is_seen(
    made: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    settings = {"threads": 1, "context": 64, "repack": False, "exact": True}
    job = {"path": made["Q4_K_M"].path, "tokens": list(range(10, 60)), "settings": settings}
    right = child.run("edgequant.verify.kernels:check", job).unwrap()
    assert right["verdict"] == PASSED and 0 < max(right["samples"]) < 0.05
    wrong = child.run("damage:wrong_kernel", job).unwrap()
    assert wrong["verdict"] == FAILED and "off numpy's product" in wrong["said"]


def test_too_little_memory_is_no_tick(made: dict[str, Artifact], checkpoint: Checkpoint, tmp_path: Path) -> None:
    poor = Gate(checkpoint, Circumstances(threads=1, free_bytes=2e8, scratch=tmp_path))
    finding = poor._to_checkpoint(made["F16"], None)
    assert str(finding) == f"{NOT_CHECKED}: needs 1.0 GB, 0.2 GB are free"
    assert str(poor._best(made["F16"], [], None)).startswith(NOT_CHECKED)  # type: ignore[arg-type]


@pytest.mark.slow
def test_one_layer_at_a_time(made: dict[str, Artifact], checkpoint: Checkpoint, tmp_path: Path) -> None:
    from edgequant.verify.reference import needed_bytes

    whole, by_layer = needed_bytes(checkpoint, 256)
    between = Gate(checkpoint, Circumstances(threads=1, free_bytes=(whole + by_layer) / 2, scratch=tmp_path))
    finding = between._to_checkpoint(made["F16"], None)
    assert finding.verdict == PASSED and "layer by layer" in finding.said


@pytest.mark.slow
def test_without_torch_the_gate_says_that_it_did_not_check(
    made: dict[str, Artifact], checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "transformers"):
        (tmp_path / "path" / name).mkdir(parents=True)
        (tmp_path / "path" / name / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    bare = Gate(checkpoint, Circumstances(threads=1, free_bytes=8e9, scratch=tmp_path))
    findings = bare.check(made["F16"])
    assert findings["logits"].verdict == NOT_CHECKED and "edgequant[convert]" in findings["logits"].said
    assert {findings[part].verdict for part in WORDS} == {PASSED}
    assert "the project's own renderer" in findings["template"].said


@pytest.mark.parametrize(
    ("name", "checkpoint", "said"),
    [
        ("nothing.gguf", "", "nothing.gguf does not exist"),
        ("nothing.gguf", "somewhere", "nothing.gguf does not exist"),
        ("file.gguf", "", "file.gguf lies in no run"),
        ("run", "", "run is a run"),
        ("run/artifacts", "somewhere", "artifacts is no file"),
    ],
)
def test_what_cannot_be_verified(tmp_path: Path, name: str, checkpoint: str, said: str) -> None:
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    with pytest.raises(Error, match=said):
        pipeline.verify(tmp_path / name, checkpoint=checkpoint, listen=lambda *_: None)


def test_a_file_cut_short_is_an_error_in_words(made: dict[str, Artifact], tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(Path(made["Q6_K"].path).read_bytes()[:-1000])
    with pytest.raises(Error, match=r"short\.gguf is damaged: .+"):
        list(dequantised_rows(str(short)))


# -- the folder of an ONNX artifact: its tokenizer files


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Artifact:
    """An ONNX artifact's folder, its graph left out: the parts that read words do not look at it."""
    shutil.copytree(checkpoint.path, tmp_path / "onnx", ignore=shutil.ignore_patterns("*.safetensors"))
    values = {"checkpoint": "", "checkpoint_revision": "", "format": "onnx-fp32", "container": "onnx"}
    empty = {"size_bytes": 0, "sha256": "", "true_bits_per_weight": 32.0, "seconds": 0.0, "made_by": {}}
    return Artifact(**values, **empty, path=str(tmp_path / "onnx"), tensor_types={"float32": 1.0})  # type: ignore[arg-type]


@pytest.mark.slow
def test_words_of_a_faithful_folder(folder: Artifact, gate: Gate) -> None:
    assert verdicts(gate._of_words(folder)) == dict.fromkeys(WORDS, PASSED)


@pytest.mark.parametrize(
    ("part", "file", "old", "new"),
    [
        ("tokenizer", "tokenizer.json", '"add_prefix_space": false', '"add_prefix_space": true'),
        pytest.param("template", "tokenizer_config.json", "assistant", "Assistant", marks=pytest.mark.slow),
        pytest.param(
            "special ids",
            "tokenizer_config.json",
            '"eos_token": "<|im_end|>"',
            '"eos_token": "<|eos|>"',
            marks=pytest.mark.slow,
        ),
        pytest.param("special ids", "generation_config.json", "3", "1", marks=pytest.mark.slow),
    ],
)
def test_damaged_words_of_a_folder(folder: Artifact, gate: Gate, part: str, file: str, old: str, new: str) -> None:
    path = Path(folder.path) / file
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False)
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert of_part(part, folder, gate).verdict == FAILED


@pytest.mark.slow
def test_a_token_that_ends_answers_and_is_not_known_to_llama_cpp(
    made: dict[str, Artifact], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(checkpoint.path, tmp_path / "model"))
    small_checkpoint.change_json(model / "generation_config.json", eos_token_id=[3, 1])
    job = {"folder": str(model), "container": "gguf", "path": made["F16"].path, "end": END}
    said = child.run("edgequant.verify.special_ids:check", job).unwrap()
    assert said["verdict"] == WARNING and "also ends answers at 1 ('<|eos|>')" in said["said"]
