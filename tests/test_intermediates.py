"""What is only made to make something else: from what, how long it stays, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from edgequant import cli, pipeline
from edgequant.convert import conversion
from edgequant.convert.artifact import files_of, read_manifest
from edgequant.convert.conversion import Failed
from edgequant.profiles.records.request import request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.report.rebuild import compare
from edgequant.steps.checking import Checking
from edgequant.steps.course import Course
from edgequant.steps.evaluating import Evaluating
from test_pipeline import ABSENT, Log, few_items, request, row, run


def made(out: Path) -> list[str]:
    """Formats whose files are there."""
    return sorted(file.stem.partition("-")[2] for file in (out / "artifacts").glob("*.gguf"))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Step -> the formats that were there when it began; measuring itself is left out."""
    seen: dict[str, list[str]] = {}
    for step, owner, method in (
        ("verify", Checking, "verify"),
        ("profile", Course, "measure_speeds"),
        ("evaluate", Evaluating, "evaluate"),
    ):

        def look(self: Checking | Course | Evaluating, *_: object, step: str = step) -> None:
            seen[step] = made(self.job.folder.path)

        monkeypatch.setattr(owner, method, look)
    return seen


def test_it_stays_for_the_gate_and_as_long_as_others_are_compared_with_it(
    pocket_folder: Path, tmp_path: Path, watched: dict[str, list[str]]
) -> None:
    run(request(pocket_folder, tmp_path / "run", formats=("Q8_0",)))
    assert watched == {step: ["F16", "Q8_0"] for step in ("verify", "profile", "evaluate")}
    assert made(tmp_path / "run") == ["Q8_0"]


@pytest.mark.slow
def test_it_goes_before_anything_is_measured_where_others_are_compared_with_a_better_one(
    pocket_folder: Path, tmp_path: Path, watched: dict[str, list[str]]
) -> None:
    report, _ = run(request(pocket_folder, tmp_path / "run", formats=("F32", "Q8_0")))
    assert watched == {"verify": ["F16", "F32", "Q8_0"], "profile": ["F32", "Q8_0"], "evaluate": ["F32", "Q8_0"]}
    assert {r.format for r in report.rows} == {"F32", "Q8_0"}
    manifest = read_manifest(tmp_path / "run" / "artifacts" / "model-F16.gguf")
    assert any(note.startswith("not eligible: ") for note in manifest.notes)
    _, log = run(request(pocket_folder, tmp_path / "run", formats=("F32", "Q8_0")))
    assert log.steps == []


@pytest.mark.slow
def test_it_is_kept_where_that_is_asked_and_by_later_steps_too(
    pocket_folder: Path, tmp_path: Path, watched: dict[str, list[str]]
) -> None:
    out = tmp_path / "run"
    run(request(pocket_folder, out, formats=("F32", "Q8_0"), keep_intermediate=True))
    later = pipeline.Run(request=request_of(RunFolder(out)), listen=Log())
    later.tidy()
    assert made(out) == ["F16", "F32", "Q8_0"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--keep-intermediate"], ["--no-verify", "--split-max-size", "1MB"]])
def test_converting_alone(pocket_folder: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "run"
    asked = ["convert", str(pocket_folder), "--formats", "Q8_0", "--out", str(out), *options]
    done = CliRunner().invoke(cli.main, asked)
    assert done.exit_code == 0, done.output
    found = [name for name in made(out) if name != "Q8_0"]
    if "--split-max-size" in options:
        files = sorted((out / "artifacts").glob("*.gguf"))
        assert len(files) > 2 and files == files_of(files[0]) and "Q8_0-00001-of-" in files[0].name
        assert all(file.stat().st_size <= 10**6 for file in files)
        job = pipeline.Run(request=request_of(RunFolder(out)), listen=Log())
        assert [a.path for a in job.artifacts()] == [str(files[0])]
    else:
        assert found == (["F16"] if options else [])
    assert not (out / "scratch").exists()


@pytest.mark.slow
def test_what_was_asked_for_once_stays(pocket_folder: Path, tmp_path: Path) -> None:
    for name in ("Q8_0", "Q4_0"):
        asked = ["convert", str(pocket_folder), "--formats", name, "--no-verify", "--out", str(tmp_path / "run")]
        assert CliRunner().invoke(cli.main, asked).exit_code == 0
    assert made(tmp_path / "run") == ["Q4_0", "Q8_0"]


def test_a_size_of_nothing_is_refused(pocket_folder: Path, tmp_path: Path) -> None:
    for size in ("0", "0.1", "much"):
        done = CliRunner().invoke(cli.main, ["convert", str(pocket_folder), "--split-max-size", size])
        assert done.exit_code == 2 and "--split-max-size" in done.output


# -- weights that F16 cannot hold


@pytest.fixture
def large(pocket_folder: Path, tmp_path: Path) -> Path:
    """The pocket model with one inner channel 2**20 times as large, and divided by as much again: it says the same."""
    model = Path(shutil.copytree(pocket_folder, tmp_path / "large"))
    tensors = {name: value.astype(np.float32) for name, value in load_file(model / "model.safetensors").items()}
    tensors["model.layers.0.mlp.up_proj.weight"][0] *= 2.0**20
    tensors["model.layers.0.mlp.down_proj.weight"][:, 0] *= 2.0**-20
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return model


@pytest.mark.slow
def test_bf16_takes_the_place_of_an_f16_that_was_asked_for(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stored: list[bytes] = []
    for tried in (["F16", "BF16", "Q8_0"], []):
        job = pipeline.Run(request=request(large, out, formats=("F16", "Q8_0")), listen=(log := Log()))
        job.convert()
        job.tidy()
        assert made(out) == ["BF16", "Q8_0"]
        assert log.steps == [("convert", name) for name in tried]
        stored.append((out / "results.jsonl").read_bytes())
    assert stored[0] == stored[1]
    rows = {r.format: r for r in compare(RunFolder(out)).rows}
    assert set(rows) == {"F16", "BF16", "Q8_0"}
    assert "beyond the range of F16" in rows["F16"].cells["accuracy"].note
    for name, code in (("BF16", "stands in for F16"), ("Q8_0", "made from BF16")):
        mark = rows[name].mark(code)
        assert mark is not None and "beyond the range of F16" in mark.sentence
    assert rows["BF16"].mark("not eligible") is None


@pytest.mark.slow
def test_bf16_that_nobody_asked_for_goes_and_is_made_again_without_trying_f16(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for formats in (("Q8_0",), ("Q8_0", "Q4_0"), ("F16", "Q8_0")):
        job = pipeline.Run(request=request(large, out, formats=formats), listen=(log := Log()))
        job.convert()
        job.tidy()
        rows = {r.format for r in job.report().rows}
        if formats == ("Q8_0",):
            assert made(out) == ["Q8_0"] and rows == {"Q8_0"}
        else:
            assert ("convert", "F16") not in log.steps and ("convert", "BF16") in log.steps
    assert made(out) == ["BF16", "Q4_0", "Q8_0"] and "F16" in rows


@pytest.mark.slow
def test_a_whole_run_over_large_weights(large: Path, pocket_items: Path, tmp_path: Path) -> None:
    tasks = (few_items(pocket_items, tmp_path),)
    report, _ = run(request(large, tmp_path / "run", formats=("F16", "Q8_0"), tasks=tasks))
    assert report.context.reference == report.answer.pick == "BF16"
    assert not row(report, "BF16").mark("failed gate") and row(report, "Q8_0").mark("made from BF16")
    assert {r.format for r in report.rows} == {"F16", "BF16", "Q8_0"}


@pytest.mark.slow
def test_a_whole_run_over_shards(pocket_folder: Path, pocket_items: Path, tmp_path: Path) -> None:
    """The gate, the measuring and the report take the first shard for the model."""
    tasks = (few_items(pocket_items, tmp_path),)
    asked = request(pocket_folder, tmp_path / "run", formats=("F16", "Q8_0"), tasks=tasks, split_max_bytes=10**6)
    report, _ = run(asked)
    for name in ("F16", "Q8_0"):
        found = row(report, name)
        assert not found.mark("failed gate") and found.failure is None
        assert all(found.value(metric) is not None for metric in found.cells if metric not in ABSENT)
    sizes = {
        a.format: sum(f.stat().st_size for f in (tmp_path / "run").rglob(f"*-{a.format}-*.gguf"))
        for a in report.artifacts
    }
    assert {r.format: r.size_bytes for r in report.rows} == sizes
    _, log = run(asked)
    assert log.steps == []


# -- how a conversion that fails is stored


@pytest.mark.slow
@pytest.mark.parametrize("status", ["error", "oom", "timeout", "crash"])
def test_a_failure_is_stored_as_what_it_was(
    pocket_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    from edgequant import child

    real = conversion.convert

    def convert(checkpoint, fmt, workshop, **options):  # type: ignore[no-untyped-def]
        if fmt.name == "Q8_0":
            raise Failed(child.Outcome(status=status, note="it ended so"))
        return real(checkpoint, fmt, workshop, **options)

    monkeypatch.setattr(conversion, "convert", convert)
    job = pipeline.Run(request=request(pocket_folder, tmp_path / "run", formats=("F16", "Q8_0")), listen=Log())
    job.convert()
    stored = {r.status for r in RunFolder(tmp_path / "run").store().rows if r.format == "Q8_0"}
    assert stored == {status}
    found = {r.format: r for r in job.report().rows}["Q8_0"]
    assert found.failure is not None and "it ended so" in found.failure.sentence
