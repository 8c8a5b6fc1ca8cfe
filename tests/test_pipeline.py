"""The main job, end to end, on the trained pocket model: real formats, both runtimes, real losses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgequant import Error, child, pipeline
from edgequant.convert import formats
from edgequant.convert.artifact import digest_of, read_manifest
from edgequant.profiles.device import load
from edgequant.profiles.records.measurement import ENERGY_METRICS, WHERE_POSSIBLE
from edgequant.profiles.records.request import Request, request_of
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.profiles.records.store import read
from edgequant.report.answer import Limits
from edgequant.report.rebuild import compare, rebuild
from edgequant.report.rows import Row
from edgequant.report.table import Report
from edgequant.steps import course
from edgequant.verify import finding
from edgequant.verify import gate as gates

FORMATS = ("F16", "Q8_0", "Q4_K_M", "Q2_K", "onnx-fp32", "onnx-int8-dynamic")


class Log:
    """What the pipeline said: a listener."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []

    def __call__(self, step: str, format_name: str, detail: str) -> None:
        if not detail:
            self.steps.append((step, format_name))


#: what has no number here: nobody is asked to judge, the context ends at 512 tokens, and not every machine has a meter
ABSENT = {*ENERGY_METRICS, *WHERE_POSSIBLE}


def request(source: Path | str, out: Path, **changes: object) -> Request:
    """A request for this machine at a small context."""
    values = {"source": str(source), "out": out, "device": load("host"), "context": 512, "command": "edgequant run"}
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def run(asked: Request) -> tuple[Report, Log]:
    """Do the whole job and keep what it said."""
    log = Log()
    return pipeline.run(asked, log, planned=lambda plan: None), log


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that the tests of this module look at."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def done(out: Path, pocket_folder: Path, pocket_items: Path) -> tuple[Report, Log]:
    """The pocket model's run."""
    return run(request(pocket_folder, out, formats=FORMATS, tasks=(str(pocket_items),)))


@pytest.fixture(scope="module")
def report(done: tuple[Report, Log]) -> Report:
    """The report of that run."""
    return done[0]


def row(report: Report, name: str) -> Row:
    """The row of a format."""
    return next(row for row in report.rows if row.format == name)


def value(report: Report, name: str, metric: str) -> float:
    """A measured number, which must be there."""
    found = row(report, name).value(metric)
    assert found is not None, row(report, name).cells[metric]
    return found


def test_every_cell_of_every_format_is_filled(report: Report) -> None:
    assert {r.format for r in report.rows} == set(FORMATS)
    blank = {(r.format, metric) for r in report.rows for metric, cell in r.cells.items() if cell.value is None}
    absent = {metric for _, metric in blank}
    assert absent - {*ENERGY_METRICS} == ABSENT - {*ENERGY_METRICS}  # energy: as the machine has a meter
    assert blank == {(name, metric) for name in FORMATS for metric in absent}


def test_the_reference_is_the_most_precise_artifact_and_passed_its_checks(report: Report) -> None:
    assert report.context.reference == "onnx-fp32"
    checks = {a.format: a.checks for a in report.artifacts}
    assert checks["F16"]["logits"].startswith("passed: ")
    assert checks["onnx-fp32"]["logits"].startswith("passed: ")
    assert {what for said in checks.values() for what in said} == set(finding.PARTS) - {"file", "source", "origin"}
    assert all(checks[name][what].startswith("passed: ") for name in FORMATS for what in ("tokenizer", "template"))
    assert not any(result.startswith(("failed", "not checked")) for said in checks.values() for result in said.values())


def test_the_pocket_model_answers_its_items_and_loses_at_two_bits(report: Report) -> None:
    assert value(report, "F16", "accuracy") >= 0.9
    loss = row(report, "Q2_K").loss
    assert loss is not None
    assert loss.loss.low > 0 and loss.p_value < 0.01


def test_eight_bits_cannot_be_told_apart_from_the_reference(report: Report) -> None:
    assert "Q8_0" in row(report, "onnx-fp32").ties and "Q8_0" in row(report, "F16").ties
    assert value(report, "Q8_0", "kl_divergence") < 0.01


def test_fewer_bits_diverge_more(report: Report) -> None:
    ladder = [value(report, name, "kl_divergence") for name in ("F16", "Q8_0", "Q4_K_M", "Q2_K")]
    assert ladder == sorted(ladder)
    assert ladder[0] < 1e-3 < ladder[-1]


def test_both_engines_compute_the_same_model(report: Report) -> None:
    assert value(report, "F16", "same_top_token") > 0.99
    assert value(report, "F16", "perplexity") == pytest.approx(value(report, "onnx-fp32", "perplexity"), rel=1e-3)


def test_k_quants_are_real_on_the_pocket_model(report: Report) -> None:
    types = row(report, "Q4_K_M").tensor_types
    assert types["Q4_K"] > 0.5
    assert not {"Q5_0", "Q5_1", "Q8_0"} & set(types)


def test_manifests_describe_the_files(report: Report, out: Path) -> None:
    for artifact in report.artifacts:
        path = out / "artifacts" / Path(artifact.path).name
        assert digest_of(path) == artifact.sha256 == read_manifest(path).sha256
        assert artifact.size_bytes == sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file())


def test_the_folder_explains_itself(report: Report, out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    assert names == {
        "artifacts",
        "prepared.json",
        "reference.npz",
        "report.html",
        "report.json",
        "report.md",
        "results.jsonl",
        "run.json",
    }
    stored = {m.metric for m in read(out / "results.jsonl")}
    gate = {finding.PARTS[what].metric for artifact in report.artifacts for what in artifact.checks}
    assert stored - {*ENERGY_METRICS} == set(row(report, "F16").cells) - {"perplexity", *ABSENT} | gate


def test_the_neighbours_of_the_foreseen_pick_come_first_and_the_reference_before_all(done: tuple[Report, Log]) -> None:
    """Q8_0 is what a plan would pick; the next smaller one that stays on the ladder is Q4_K_M, the next better F16."""
    steps = done[1].steps
    first = ("onnx-fp32", "F16", "Q8_0", "Q4_K_M")
    rest = ("Q2_K", "onnx-int8-dynamic")
    assert {name for step, name in steps[: steps.index(("convert", "Q2_K"))] if step == "evaluate"} == {*first}
    for step in ("convert", "verify", "evaluate"):
        order = [name for what, name in steps if what == step]
        assert {*order[:4]} == {*first} and {*order[4:]} == {*rest}
    assert next(name for step, name in steps if step == "evaluate") == "onnx-fp32"


def test_the_last_round_of_speed_takes_all_formats_in_turn(report: Report, out: Path) -> None:
    """Whoever was first has a round from before and one beside the others: the rows say when they were stored."""
    stored = [m for m in read(out / "results.jsonl") if m.metric == "decode_tokens_per_second"]
    assert [m.parameters["rounds"] for m in stored if m.format == "Q8_0"] == [[0] * 3, [0] * 3 + [1] * 3]
    last = [m.format for m in stored if {*m.parameters["rounds"]} == {0, 1}]
    assert last == [m.format for m in reversed(report_order(report))]


def report_order(report: Report) -> list[Row]:
    """Rows in the order of the table of formats."""
    return sorted(report.rows, key=lambda row: list(formats.FORMATS).index(row.format))


def test_memory_is_split_and_adds_up(report: Report) -> None:
    parts = [value(report, "Q8_0", f"peak_{part}_bytes") for part in ("anonymous", "file_backed")]
    assert min(parts) > 2**20
    assert sum(parts) >= value(report, "Q8_0", "peak_rss_bytes") * 0.9


def test_both_engines_got_the_same_random_tokens(report: Report) -> None:
    speeds = [m.parameters for m in report.measurements if m.metric == "decode_tokens_per_second"]
    assert {(p["n_prompt"], p["n_generate"], p["seed"], p["settings"]["threads"]) for p in speeds} == {
        (256, 32, 0, load("host").threads)
    }


def test_a_second_run_does_nothing_twice(
    done: tuple[Report, Log], out: Path, pocket_folder: Path, pocket_items: Path
) -> None:
    before = (out / "results.jsonl").read_bytes()
    again, log = run(request(pocket_folder, out, formats=FORMATS, tasks=(str(pocket_items),)))
    assert (out / "results.jsonl").read_bytes() == before
    assert log.steps == []
    assert (again.answer.pick, again.answer.equals) == (done[0].answer.pick, done[0].answer.equals)


def test_the_report_is_rebuilt_from_the_rows_alone(report: Report, out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(out, copy, ignore=shutil.ignore_patterns("report.*", "*.gguf", "model.onnx"))
    rebuilt = rebuild(RunFolder(copy))
    assert rebuilt.rows == report.rows
    assert (copy / "report.html").stat().st_size > 10_000


def test_other_limits_give_another_answer_without_measuring(report: Report, out: Path) -> None:
    size = row(report, "Q4_K_M").size_bytes
    assert size is not None
    small = compare(RunFolder(out), limits=Limits(max_size_bytes=size))
    assert small.answer.pick == "Q4_K_M"
    none = compare(RunFolder(out), limits=Limits(max_size_bytes=1))
    assert none.answer.pick is None


@pytest.mark.slow
def test_formats_made_on_the_way_are_removed_and_said_so(
    pocket_folder: Path, pocket_items: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(pocket_items.read_text(encoding="utf-8").splitlines(keepends=True)[:5]), encoding="utf-8")
    asked = request(pocket_folder, tmp_path / "run", formats=("Q8_0",), tasks=(str(few),), verify=False)
    report, _ = run(asked)
    assert [path.name for path in (tmp_path / "run" / "artifacts").glob("*.gguf")] == ["model-Q8_0.gguf"]
    assert report.context.reference == "F16"
    assert row(report, "F16").mark("not eligible") is not None
    assert report.answer.pick == "Q8_0"
    assert any("--no-verify" in note for note in report.context.notes)
    _, log = run(asked)
    assert log.steps == []


def test_a_format_that_cannot_be_made_is_a_row(pocket_folder: Path, tmp_path: Path) -> None:
    """A weight of 1e8: float16 cannot hold it, nor can the scales of Q8_0, which are float16; BF16 can."""
    model = Path(shutil.copytree(pocket_folder, tmp_path / "model"))
    tensors = {name: value.astype(np.float32) for name, value in load_file(model / "model.safetensors").items()}
    tensors["model.embed_tokens.weight"][0, 0] = 1e8
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    job = pipeline.Run(request=request(model, tmp_path / "run", formats=("F16", "Q8_0")), listen=Log())
    job.convert()
    assert [a.format for a in job.artifacts()] == ["BF16"]
    rows = {r.format: r for r in job.report().rows}
    f16, q8 = rows["F16"].cells["decode_tokens_per_second"], rows["Q8_0"].cells["accuracy"]
    assert (f16.status, q8.status) == ("unsupported", "error")
    assert "beyond the range of F16" in f16.note and f16.note.endswith("BF16 was made instead")
    assert "validation failed" in q8.note
    assert rows["Q8_0"].failure is not None and rows["F16"].failure is None
    assert not list((tmp_path / "run").rglob("*-F16*"))


def few_items(pocket_items: Path, folder: Path, n: int = 12) -> str:
    """A task file with as many short items as choices."""
    lines = pocket_items.read_text(encoding="utf-8").splitlines(keepends=True)
    kinds = [[line for line in lines if json.loads(line)["type"] == kind] for kind in ("short", "choice")]
    (folder / "few.jsonl").write_text("".join(kinds[0][: n // 2] + kinds[1][: n // 2]), encoding="utf-8")
    return str(folder / "few.jsonl")


@pytest.mark.slow
def test_other_settings_and_back_count_again(pocket_folder: Path, pocket_items: Path, tmp_path: Path) -> None:
    """Also contexts that hold little more than one item."""
    tasks = (few_items(pocket_items, tmp_path),)
    contexts = []
    for context in (512, 128, 512, 512):
        report, log = run(
            request(
                pocket_folder, tmp_path / "run", formats=("F16", "Q8_0"), tasks=tasks, context=context, verify=False
            )
        )
        blank = [(r.format, metric, c.note) for r in report.rows for metric, c in r.cells.items() if c.value is None]
        assert {metric for _, metric, _ in blank} <= ABSENT | ({"kept_tokens"} if context < 512 else set())
        contexts.append({m.parameters["settings"]["context"] for m in report.measurements})
    assert contexts == [{512}, {128}, {512}, {512}]
    assert log.steps == []


@pytest.mark.slow
def test_where_a_pick_would_be_late_there_is_a_first_look(
    pocket_folder: Path, pocket_items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the items, before the others are made; in the end all of them, and nothing is looked at again."""
    monkeypatch.setattr(course, "_PATIENCE_SECONDS", 0.0)
    asked = request(
        pocket_folder,
        tmp_path / "run",
        formats=("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q2_K"),
        tasks=(few_items(pocket_items, tmp_path),),
        verify=False,
    )
    report, log = run(asked)
    looked = [name for step, name in log.steps if step == "look"]
    assert looked[0] == "F16" and "Q8_0" in looked
    assert log.steps.index(("look", "Q8_0")) < log.steps.index(("convert", "Q2_K"))
    assert [name for step, name in log.steps if step == "evaluate"] == list(asked.formats)
    found = [m for m in read(tmp_path / "run" / "results.jsonl") if (m.format, m.metric) == ("Q8_0", "accuracy")]
    assert [len(m.samples) for m in found] == [3, 12]
    assert {row.cells["accuracy"].n for row in report.rows} == {12}
    again, log = run(asked)
    assert log.steps == [] and again.answer == report.answer


@pytest.mark.slow
def test_a_reference_that_dies_makes_room_for_the_next(
    pocket_folder: Path, pocket_items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F32 goes first; its child dies, F16 takes its place, and F32 is a row that says why it has no quality."""
    real = child.run

    def deadly(entry: str, job: dict[str, object], **options: object) -> child.Outcome:
        if entry.endswith("quality:measure") and "F32" in str(job["path"]):
            return child.Outcome(status="crash", note="died of SIGSEGV", signal="SIGSEGV")
        return real(entry, job, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(child, "run", deadly)
    tasks = (few_items(pocket_items, tmp_path),)
    report, _ = run(request(pocket_folder, tmp_path / "run", formats=("F32", "F16", "Q8_0"), tasks=tasks, verify=False))
    assert report.context.reference == "F16"
    assert row(report, "F32").cells["accuracy"].note == "died of SIGSEGV"
    assert value(report, "F32", "decode_tokens_per_second") > 0
    assert value(report, "Q8_0", "kl_divergence") < 0.01
    monkeypatch.setattr(
        child,
        "run",
        lambda entry, job, **options: (
            child.Outcome(status="crash", note="died")
            if entry.endswith("quality:measure")
            else real(entry, job, **options)
        ),
    )
    report, _ = run(request(pocket_folder, tmp_path / "other", formats=("F16", "Q8_0"), tasks=tasks, verify=False))
    assert any("nothing to compare with" in note for note in report.context.notes)
    assert value(report, "Q8_0", "decode_tokens_per_second") > 0


@pytest.mark.slow
def test_a_failed_gate_bars_what_was_made_from_it(
    pocket_folder: Path, pocket_items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = gates.allowed_divergence
    monkeypatch.setattr(  # nothing diverges less
        gates, "allowed_divergence", lambda artifact: -1.0 if artifact.format == "F16" else allowed(artifact)
    )
    tasks = (few_items(pocket_items, tmp_path),)
    report, _ = run(request(pocket_folder, tmp_path / "run", formats=("F32", "F16", "Q8_0"), tasks=tasks))
    assert report.context.reference == "F32"
    assert all(row(report, name).mark("failed gate") for name in ("F16", "Q8_0"))
    assert report.answer.pick == "F32"


@pytest.mark.slow
def test_a_quantised_source_is_a_row_and_bounds_the_pick(
    report: Report, out: Path, pocket_items: Path, tmp_path: Path
) -> None:
    """A GGUF in Q4_0: its weights lie on a grid, the formats that share it are marked, and nothing larger wins."""
    tasks = (few_items(pocket_items, tmp_path),)
    source = tmp_path / "model.Q4_0.gguf"
    f16 = next(out.glob("artifacts/*F16.gguf"))
    job = {"source": str(f16), "target": str(source), "ftype": 2, "threads": 2}
    assert child.run("edgequant.convert.gguf_quantise:quantise", job).status == "ok"
    made, _ = run(request(source, tmp_path / "run", formats=("F16", "Q8_0", "Q4_0", "Q2_K"), tasks=tasks))
    assert made.context.grid == "Q4_0"
    assert row(made, "source").size_bytes == source.stat().st_size
    assert row(made, "Q4_0").mark("quality not transferable")
    reasons = {v.format: {mark.code for mark in v.reasons} for v in made.answer.verdicts}
    assert "source" in reasons["F16"] & reasons["Q8_0"]
    assert made.answer.pick == "source"
    assert made.answer.without_source not in (None, "source", "Q4_0")
    sizes = [r.size_bytes for r in made.rows if r.format == made.answer.pick]
    assert sizes == [source.stat().st_size]
    again = pipeline.Run(request=request_of(RunFolder(tmp_path / "run")), listen=Log())
    (kept,) = (artifact for artifact in again.artifacts() if artifact.format == "source")
    assert kept.path == str(source) and kept.checks["logits"].startswith("passed: ")


@pytest.mark.slow
def test_another_device_is_emulated(pocket_folder: Path, pocket_items: Path, tmp_path: Path) -> None:
    tasks = (few_items(pocket_items, tmp_path),)
    asked = request(
        pocket_folder, tmp_path / "run", formats=("Q8_0",), tasks=tasks, verify=False, device=load("rpi5-8gb")
    )
    made, _ = run(asked)
    assert all(m.emulated and m.device == "rpi5-8gb" for m in made.measurements)
    assert row(made, "Q8_0").mark("emulated")
    assert made.answer.limits.max_memory_bytes == load("rpi5-8gb").usable_ram_bytes


def test_limits_leave_the_devices_memory_in_force(report: Report, out: Path) -> None:
    usable = RunFolder(out).open()["device"]["usable_ram_bytes"]
    assert compare(RunFolder(out), limits=Limits(min_decode=1)).answer.limits.max_memory_bytes == usable
    assert compare(RunFolder(out), limits=Limits(max_memory_bytes=5)).answer.pick is None


@pytest.mark.slow
def test_another_model_in_the_folder_does_not_mix(pocket_folder: Path, pocket_items: Path, tmp_path: Path) -> None:
    tasks = (few_items(pocket_items, tmp_path),)
    model = Path(shutil.copytree(pocket_folder, tmp_path / "model"))
    run(request(model, tmp_path / "run", formats=("F16", "Q8_0"), tasks=tasks, verify=False))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 2e-5}))
    report, _ = run(request(model, tmp_path / "run", formats=("F16",), tasks=tasks, verify=False))
    assert [r.format for r in report.rows] == ["F16"]


@pytest.mark.slow
def test_after_a_run_the_parent_holds_no_engine(pocket_folder: Path, pocket_items: Path, tmp_path: Path) -> None:
    tasks = few_items(pocket_items, tmp_path)
    code = f"""
import sys
from pathlib import Path
from edgequant import pipeline
from edgequant.profiles.device import load
from edgequant.profiles.records.request import Request
request = Request(source={str(pocket_folder)!r}, out=Path({str(tmp_path / "run")!r}), device=load("host"),
                           context=256, formats=("Q8_0",), tasks=({tasks!r},))
job = pipeline.Run(request=request, listen=lambda *said: None)
job.plan(), job.convert(), job.verify(), job.profile(), job.evaluate(), job.report()
print(sorted({{"torch", "transformers", "onnxruntime", "onnx", "llama_cpp", "optimum"}} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_format_is_refused_before_anything_is_made(pocket_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Error, match="unknown format 'Q9_K'"):
        run(request(pocket_folder, tmp_path / "run", formats=("Q9_K",)))
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_too_small_is_refused(
    pocket_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(Error, match="free"):
        run(request(pocket_folder, tmp_path / "run", formats=("F16",)))
    assert not (tmp_path / "run" / "artifacts").exists()


def test_a_folder_with_something_else_in_it_is_refused(pocket_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Error, match="something else"):
        run(request(pocket_folder, tmp_path))


def test_run_json_holds_what_was_asked(report: Report, out: Path) -> None:
    values = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert values["formats"] == list(FORMATS)
    assert request_of(RunFolder(out)).formats == FORMATS


@pytest.mark.slow
def test_a_smoothed_format_says_what_it_bought_and_is_made_once(tmp_path: Path, pocket_folder: Path) -> None:
    names = ("onnx-fp32", "onnx-int8-dynamic", "onnx-int8-dynamic-smooth")
    asked = request(pocket_folder, tmp_path / "run", formats=names)
    job = pipeline.Run(request=asked, listen=Log())
    job.convert()
    job.verify()
    made = {artifact.format: artifact for artifact in job.artifacts()}
    assert set(made) == set(names)
    smoothed = made["onnx-int8-dynamic-smooth"]
    assert smoothed.notes[0].startswith("smoothed: strength 0.") and "instead of" in smoothed.notes[0]
    assert smoothed.checks["weights"].startswith("passed") and smoothed.checks["kernels"].startswith("passed")
    assert smoothed.sha256 != made["onnx-int8-dynamic"].sha256
    again = Log()
    pipeline.Run(request=asked, listen=again).convert()
    assert not any(step == "convert" for step, _ in again.steps)
