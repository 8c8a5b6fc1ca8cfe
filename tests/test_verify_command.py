"""`edgequant verify`, and the gate in `convert`: exit codes, crosses with their first difference, JSON, --no-verify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from damage import flipped, rewritten
from edgequant import pipeline
from edgequant.cli import main
from edgequant.profiles.device import load
from edgequant.profiles.records.request import Request
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import read
from edgequant.report.rebuild import compare
from edgequant.verify.finding import PARTS

pytestmark = pytest.mark.slow


def call(*words: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, ["-q", *map(str, words)])


@pytest.fixture(scope="module")
def run(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three artifacts that all passed."""
    out = tmp_path_factory.mktemp("made") / "run"
    result = call("convert", pocket_folder, "--formats", "F16,Q8_0,onnx-fp32", "--out", out)
    assert result.exit_code == 0, result.output
    assert "✓ tokenizer" in result.stdout and "✗" not in result.stdout
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def damage(file: Path) -> None:
    whole = file.rename(file.with_suffix(".whole"))
    rewritten(whole, file, tensors={"blk.0.ffn_down.weight": flipped})
    whole.unlink()


def test_a_faithful_artifact(run: Path) -> None:
    result = call("verify", run / "artifacts" / "model-Q8_0.gguf")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "✓ file" in result.stdout and "✓ logits" in result.stdout and "✗" not in result.stdout


def test_other_bytes_than_those_that_were_made(copy: Path) -> None:
    """A few weights of one row: no other part can tell them from rounding once F16 is gone."""
    file = copy / "artifacts" / "model-Q8_0.gguf"
    (copy / "artifacts" / "model-F16.gguf").unlink()
    data = bytearray(file.read_bytes())
    data[-100:-90] = bytes(10)
    file.write_bytes(data)
    result = call("verify", file)
    assert result.exit_code == 1
    assert "✗ file" in result.stdout and result.stdout.count("✗") == 1, result.stdout
    rows = [row for row in read(copy / "results.jsonl") if row.metric == "gate_file"]
    assert list(rows[-1].samples) == [0.0]


def test_any_shard_stands_for_the_whole(pocket_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = call("convert", pocket_folder, "--formats", "Q8_0", "--split-max-size", "1MB", "--out", out, "--no-verify")
    assert made.exit_code == 0, made.output
    last = sorted((out / "artifacts").glob("*.gguf"))[-1]
    result = call("verify", last)
    assert result.exit_code == 0 and "✓ file" in result.stdout and "✓ kernels" in result.stdout, result.output
    last.unlink()
    assert call("verify", sorted((out / "artifacts").glob("*.gguf"))[-1]).exit_code == 1


def test_rows_of_the_gate_are_stored(run: Path) -> None:
    rows = [row for row in read(run / "results.jsonl") if row.metric.startswith("gate_")]
    known = {part.metric: part.unit for part in PARTS.values()}
    assert {row.format for row in rows} == {"F16", "Q8_0", "onnx-fp32"}
    assert all(row.unit == known[row.metric] and row.samples and row.parameters["said"] for row in rows)
    assert len({row.metric for row in rows}) >= 6


@pytest.mark.parametrize("name", ["F16", "Q8_0"])
def test_a_damaged_artifact(copy: Path, name: str) -> None:
    damage(copy / "artifacts" / f"model-{name}.gguf")
    result = call("verify", copy / "artifacts" / f"model-{name}.gguf")
    assert result.exit_code == 1
    assert "✗ logits" in result.stdout and "✓ tokenizer" in result.stdout
    again = call("verify", copy / "artifacts" / f"model-{name}.gguf", "--json")
    assert again.exit_code == 1
    values = json.loads(again.stdout)
    assert values["checks"]["logits"].startswith("failed: ")
    assert sum(note.startswith("failed gate: logits") for note in values["notes"]) == 1


def test_a_damaged_onnx_graph(copy: Path) -> None:
    """The graph of another model: the same shapes, other numbers."""
    import numpy as np
    import onnx

    file = copy / "artifacts" / "model-onnx-fp32" / "model.onnx"
    model = onnx.load(str(file))
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, dtype=np.float32).copy()
    values[::3] *= -1
    largest.raw_data = values.tobytes()
    onnx.save(model, str(file))
    result = call("verify", file.parent)
    assert result.exit_code == 1 and "✗ logits" in result.stdout


def test_tampered_data_beside_a_graph(copy: Path) -> None:
    """One bit of one weight, which no divergence shows; then the end of the file missing."""
    file = copy / "artifacts" / "model-onnx-fp32" / "model.onnx.data"
    with file.open("r+b") as stream:
        byte = stream.read(1)[0]
        stream.seek(0)
        stream.write(bytes([byte ^ 1]))
    result = call("verify", file.parent)
    assert result.exit_code == 1 and "✗ file" in result.stdout and "✓ logits" in result.stdout, result.stdout
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    result = call("verify", file.parent)
    assert result.exit_code == 1 and "✗ file" in result.stdout and "✗ logits" in result.stdout
    assert "Traceback" not in result.output and "out of bounds" in " ".join(result.stdout.split())


def test_a_gguf_outside_a_run(run: Path, pocket_folder: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(run / "artifacts" / "model-F16.gguf", tmp_path / "mine.gguf"))
    refused = call("verify", file)
    assert refused.exit_code == 1 and "--checkpoint" in refused.stderr
    passed = call("verify", file, "--checkpoint", pocket_folder)
    assert passed.exit_code == 0 and "mine.gguf:" in passed.stdout and "✓ logits" in passed.stdout
    damage(file)
    assert call("verify", file, "--checkpoint", pocket_folder).exit_code == 1


def test_a_run_of_a_gguf_is_compared_with_that_file(run: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(run / "artifacts" / "model-Q8_0.gguf", tmp_path / "source.Q8_0.gguf"))
    asked = Request(source=str(source), out=tmp_path / "run", device=load("host"), context=256, formats=("F16",))
    job = pipeline.Run(request=asked, listen=lambda *_: None)
    job.convert()
    job.verify()
    checks = {artifact.format: artifact.checks for artifact in job.artifacts()}
    assert checks["F16"]["source"].startswith("passed: ") and "the source file" in checks["F16"]["source"]
    assert checks["F16"]["logits"].startswith("passed: ")
    assert not any(said.startswith("failed") for each in checks.values() for said in each.values()), checks


def test_without_the_gate_the_report_says_so(pocket_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = call("convert", pocket_folder, "--formats", "F16", "--out", out, "--no-verify")
    assert result.exit_code == 0 and "F16: not verified" in result.stdout
    assert "Not checked against the checkpoint (--no-verify): F16." in compare(RunFolder(out)).context.notes
    assert call("verify", out / "artifacts" / "model-F16.gguf").exit_code == 0
    assert not any("--no-verify" in note for note in compare(RunFolder(out)).context.notes)
