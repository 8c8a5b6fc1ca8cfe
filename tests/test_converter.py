"""--converter: a script that the user names makes the GGUF files of what ours refuses, and the gate judges them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import small_checkpoint
from edgequant import Error, child, pipeline
from edgequant.convert import conversion, peer_converter
from edgequant.convert.artifact import Artifact, read_manifest
from edgequant.convert.gguf_header import read_header
from edgequant.convert.peer_converter import SCRIPT
from edgequant.profiles.device import load
from edgequant.profiles.planning import plan as planning
from edgequant.profiles.records.request import Request, request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import read
from edgequant.report import plan_listing

STUB = Path(__file__).with_name("stub_converter.py")
UNKNOWN = {"architectures": ["UnheardOfForCausalLM"]}  # a Llama in all but this name


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model", config=small_checkpoint.config(**UNKNOWN))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What looks like a checkout of llama.cpp, with a script that converts."""
    return checkout_of(tmp_path / "checkout", STUB.read_text(encoding="utf-8"))


def checkout_of(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / SCRIPT).write_text(script, encoding="utf-8")
    return folder


def asked(model: Path, out: Path, **changes: Any) -> Request:
    values = {"source": str(model), "out": out, "device": load("host"), "context": 512, "command": "edgequant run"}
    return Request(**{**values, "formats": ("F16", "Q8_0"), **changes})


def run(request: Request) -> pipeline.Run:
    return pipeline.Run(request=request, listen=lambda *_: None)


def made(request: Request) -> dict[str, Artifact]:
    job = run(request)
    job.convert()
    return {artifact.format: artifact for artifact in job.artifacts()}


# -- what is named


def test_the_checkout_or_the_script_itself(checkout: Path) -> None:
    assert peer_converter.find_script(checkout) == peer_converter.find_script(checkout / SCRIPT)


@pytest.mark.parametrize("named", ["nowhere", "model", "model/config.json"])
def test_a_path_without_the_script(model: Path, tmp_path: Path, named: str) -> None:
    with pytest.raises(Error, match=rf"holds no {SCRIPT}") as caught:
        run(asked(model, tmp_path / "run", converter=tmp_path / named))
    assert "checkout of llama.cpp" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_without_it_an_unknown_architecture_lists_the_known_and_the_option(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Error, match="UnheardOfForCausalLM, which is not supported") as caught:
        run(asked(model, tmp_path / "run"))
    assert "LlamaForCausalLM" in caught.value.hint and "--converter PATH" in caught.value.hint


# -- what is planned


def test_the_plan_estimates_sizes_and_invents_nothing(model: Path, checkout: Path, tmp_path: Path) -> None:
    planned = pipeline.predict(asked(model, tmp_path / "run", converter=checkout))
    n_weights = sum(values.size for values in small_checkpoint.tensors().values())
    f16, q8_0 = planned.formats
    assert (f16.size_bytes, q8_0.size_bytes) == (2 * n_weights, int(n_weights * 8.5 / 8))
    assert planned.disk_bytes > f16.size_bytes + q8_0.size_bytes
    for each in planned.formats:
        assert each.peak_memory_bytes is each.fits is each.decode_tokens_per_second is None and not each.memory
    assert planned.conversion_memory_bytes is None
    said = json.loads(json.dumps(planned.to_json()))
    assert said["predicted"] and "estimates" in said["notes"][0] and "UnheardOfForCausalLM" in said["notes"][0]
    shown = io.StringIO()
    Console(width=200, file=shown).print(plan_listing.plan(planned))
    text = shown.getvalue()
    assert text.count("not known") == 7 and "Sizes are estimates" in text  # memory, fit and speed of two; the note
    with pytest.raises(Error, match=r"free, but the run needs"):
        planning.Plan(**{**vars(planned), "disk_bytes": 10**18}).check_disk(tmp_path)


@pytest.mark.parametrize("key", ["max_position_embeddings", "vocab_size"])
def test_a_configuration_without_the_sizes_that_measuring_needs(
    model: Path, checkout: Path, tmp_path: Path, key: str
) -> None:
    small_checkpoint.write_json(model / "config.json", small_checkpoint.config(**UNKNOWN, **{key: None}))
    with pytest.raises(Error, match=f"has no size {key}"):
        run(asked(model, tmp_path / "run", converter=checkout))


# -- what is made


def test_artifacts_say_who_made_them_and_why(model: Path, checkout: Path, tmp_path: Path) -> None:
    request = asked(model, tmp_path / "run", converter=checkout)
    found = made(request)
    assert set(found) == {"F16", "Q8_0"}
    for artifact in found.values():
        assert artifact.made_by[SCRIPT].startswith("sha256:")
        (note,) = artifact.notes
        assert note.startswith(f"converted by llama.cpp's {SCRIPT}: ") and "UnheardOfForCausalLM" in note
    header = read_header(Path(found["F16"].path))
    assert header.metadata["general.architecture"] == "llama" and "edgequant.version" not in header.metadata
    assert found["Q8_0"].tensor_types["Q8_0"] > 0.5
    again = {name: Path(artifact.path).stat().st_mtime_ns for name, artifact in made(request).items()}
    assert again == {name: Path(artifact.path).stat().st_mtime_ns for name, artifact in found.items()}
    (checkout / "conversion").mkdir()
    (checkout / "conversion" / "base.py").write_text("# a newer version", encoding="utf-8")
    newer = made(request)
    assert newer["Q8_0"].made_by[SCRIPT] != found["Q8_0"].made_by[SCRIPT]
    assert request_of(RunFolder(tmp_path / "run")).converter == checkout


def test_what_the_table_knows_is_converted_by_ours(tmp_path: Path, checkout: Path) -> None:
    model = small_checkpoint.write(tmp_path / "model")
    found = made(asked(model, tmp_path / "run", converter=checkout, formats=("F16",)))
    assert SCRIPT not in found["F16"].made_by and found["F16"].notes == ()


def test_a_value_that_ours_refuses_is_its_business_too(tmp_path: Path, checkout: Path) -> None:
    model = small_checkpoint.write(tmp_path / "model", config=small_checkpoint.config(partial_rotary_factor=1.0))
    found = made(asked(model, tmp_path / "run", converter=checkout, formats=("F16",)))
    assert "partial_rotary_factor" in found["F16"].notes[0]


def test_packed_weights_are_refused_all_the_same(model: Path, checkout: Path, tmp_path: Path) -> None:
    small_checkpoint.change_json(model / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(Error, match="already quantised with GPTQ"):
        run(asked(model, tmp_path / "run", converter=checkout))


def test_files_are_cut_as_asked(model: Path, checkout: Path, tmp_path: Path) -> None:
    found = made(asked(model, tmp_path / "run", converter=checkout, formats=("F16",), split_max_bytes=20_000))
    assert "-00001-of-0" in found["F16"].path
    assert len(list((tmp_path / "run" / "artifacts").glob("*.gguf"))) > 1


def test_bf16_stands_in_where_the_script_made_weights_infinite(model: Path, checkout: Path, tmp_path: Path) -> None:
    tensors = small_checkpoint.tensors()
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = 7e4
    small_checkpoint.write_weights(model, tensors)
    found = made(asked(model, tmp_path / "run", converter=checkout))
    assert set(found) == {"BF16", "Q8_0"}
    assert "the tensor blk.1.ffn_up.weight holds values beyond the range of F16" in " ".join(found["BF16"].notes)


# -- scripts that fail


FAILING = {
    "an exit code": (
        "import sys\nprint('Model X is not supported', file=sys.stderr)\nsys.exit(1)",
        "Model X is not supp",
    ),
    "an exit message": ("raise SystemExit('no such thing')", "no such thing"),
    "an exception": ("raise NotImplementedError('not yet')", "NotImplementedError: not yet"),
    "a log": ("import logging\nlogging.basicConfig()\nlogging.error('wrong')\nexit(2)", "ERROR:root:wrong"),
    "no file": ("", "it wrote no file"),
    "a file that is no GGUF": (
        "import sys\nopen(sys.argv[sys.argv.index('--outfile') + 1], 'w').write('x')",
        "is no GGUF",
    ),
}


@pytest.mark.parametrize("kind", list(FAILING))
def test_a_script_that_fails(model: Path, tmp_path: Path, kind: str) -> None:
    script, said = FAILING[kind]
    target = tmp_path / "x.gguf"
    job = {"folder": str(model), "target": str(target), "format": "F16"}
    checkout = checkout_of(tmp_path / "checkout", script)
    outcome = child.run("edgequant.convert.peer_converter:write", {**job, "script": str(checkout / SCRIPT)})
    assert outcome.status == "error" and said in outcome.note
    assert list(tmp_path.glob("*.gguf*")) == list(tmp_path.glob(".*partial*")) == []


def test_a_failure_is_a_row_and_leaves_no_file(model: Path, tmp_path: Path) -> None:
    checkout = checkout_of(tmp_path / "checkout", "raise NotImplementedError('not yet')")
    job = run(asked(model, tmp_path / "run", converter=checkout))
    with pytest.raises(Error, match=rf"no format could be made: {SCRIPT} failed: NotImplementedError: not yet"):
        job.convert()
    rows = read(job.folder.store().path)
    assert {row.format for row in rows} == {"F16", "Q8_0"} and {row.status for row in rows} == {"error"}
    assert not list((tmp_path / "run" / "artifacts").glob("*"))


@pytest.mark.slow
def test_a_script_that_hangs_is_ended(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = checkout_of(tmp_path / "checkout", "import time\nopen('started', 'w').close()\ntime.sleep(600)")
    monkeypatch.setattr(conversion, "_DEADLINE_SECONDS", 1.0)
    monkeypatch.chdir(tmp_path)
    job = run(asked(model, tmp_path / "run", converter=checkout, formats=("F16",)))
    with pytest.raises(Error, match="did not finish in its time"):
        job.convert()
    assert (tmp_path / "started").exists()


# -- the gate behind it


@pytest.mark.slow
def test_the_gate_passes_what_is_right_and_bars_what_is_not(model: Path, checkout: Path, tmp_path: Path) -> None:
    right = run(asked(model, tmp_path / "right", converter=checkout))
    right.convert()
    right.verify()
    for artifact in right.artifacts():
        checks = read_manifest(Path(artifact.path)).checks
        assert {"tokenizer", "template", "special ids", "logits"} <= set(checks)
        assert not any(said.startswith("failed") for said in checks.values()), checks
        assert checks["logits"].startswith("passed")
    script = STUB.read_text(encoding="utf-8")
    damaged = script.replace("reshape(-1, 2, half", "reshape(-1, half, 2").replace("NAMES = {", "NAMES = {", 1)
    assert damaged != script
    wrong = run(asked(model, tmp_path / "wrong", converter=checkout_of(tmp_path / "other", damaged)))
    wrong.convert()
    wrong.verify()
    for artifact in wrong.artifacts():
        assert any(note.startswith("failed gate: logits") or "origin" in note for note in artifact.notes)


@pytest.mark.slow
def test_a_whole_run(model: Path, checkout: Path, pocket_items: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "few.jsonl"
    few = pocket_items.read_text(encoding="utf-8").splitlines(keepends=True)[:4]
    tasks.write_text("".join(few), encoding="utf-8")
    request = asked(model, tmp_path / "run", converter=checkout, tasks=(str(tasks),), context=256)
    report = pipeline.run(request, lambda *_: None, planned=lambda _: None)
    assert {row.format for row in report.rows} == {"F16", "Q8_0"}
    assert all(row.size_bytes for row in report.rows)


def test_the_parent_runs_nothing_of_the_script(model: Path, tmp_path: Path) -> None:
    """It is a stranger's: what it does to its interpreter ends with the child."""
    checkout = checkout_of(tmp_path / "checkout", "import os\nos._exit(7)")
    job = {"folder": str(model), "target": str(tmp_path / "x.gguf"), "format": "F16", "script": str(checkout / SCRIPT)}
    outcome = child.run("edgequant.convert.peer_converter:write", job)
    assert outcome.status == "crash" and "exit code 7" in outcome.note
    shutil.rmtree(checkout)
