"""From stored rows to the comparison: what counts, what is explained, what is kept."""

import json
from dataclasses import replace
from math import exp, log
from statistics import mean, median
from typing import Any

import pytest

import recorded
from edgequant import Error
from edgequant.accuracy.paired import paired_difference
from edgequant.profiles.records.measurement import METRICS, Measurement
from edgequant.report import columns, stored
from edgequant.report.rows import Row
from edgequant.report.table import Report, build
from recorded import ITEMS, artifact, artifacts, context, device, measurement, measurements


def built(rows: list[Measurement], *, formats: tuple[str, ...] = ("F16", "Q8_0"), **about: Any) -> Report:
    about = {"quantised_source": None, "grid": "", "rescaled": False, **about}
    return build([artifact(f) for f in formats], rows, device=device(), context=context(**about))


def named(report: Report, name: str) -> Row:
    return next(r for r in report.rows if r.format == name)


def outcomes(*wrong: int) -> list[float]:
    return [0.0 if n in wrong else 1.0 for n in range(len(ITEMS))]


def test_every_cell_has_a_number_or_a_reason() -> None:
    report = recorded.report()
    assert len(report.rows) == 12
    for row in report.rows:
        assert set(row.cells) == {*METRICS, "perplexity"}
        for cell in row.cells.values():
            assert (cell.value is not None and cell.status == "ok") or (cell.status != "ok" and cell.note)
        for column in columns.COLUMNS:
            text = column.text(row)
            assert text.main and (not text.missing or text.detail)


def test_a_format_that_the_device_computes_less_exactly_is_marked() -> None:
    """An AVX2 processor without VNNI, as recorded; the same with VNNI."""
    rows = [measurement("onnx-w8a8", "decode_tokens_per_second", [1.0])]
    for isa, codes in ((("avx2",), ["reduced range"]), (("avx2", "avx512_vnni"), [])):
        report = build([], rows, device=device(isa=isa), context=context(quantised_source=None, grid=""))
        marks = [m for m in named(report, "onnx-w8a8").marks if m.code != "emulated"]
        assert [m.code for m in marks] == codes
        assert all("within 7 bits" in m.sentence for m in marks)


def test_the_last_row_counts() -> None:
    rows = [measurement("Q8_0", "decode_tokens_per_second", [1.0, 2.0, 3.0])]
    rows += [measurement("Q8_0", "decode_tokens_per_second", [10.0, 20.0, 90.0])]
    report = built(rows)
    assert named(report, "Q8_0").value("decode_tokens_per_second") == 20.0
    assert len(report.measurements) == 1


def test_a_later_failure_replaces_a_number() -> None:
    rows = [measurement("Q8_0", "decode_tokens_per_second", [10.0])]
    rows += [measurement("Q8_0", "decode_tokens_per_second", [], status="oom", note="killed at 2 GB")]
    row = named(built(rows), "Q8_0")
    assert (row.cells["decode_tokens_per_second"].value, row.cells["decode_tokens_per_second"].status) == (None, "oom")
    assert row.failure is not None and row.failure.code == "out of memory" and "killed at 2 GB" in row.failure.sentence


def test_a_later_number_replaces_a_failure() -> None:
    rows = [measurement("Q8_0", "decode_tokens_per_second", [], status="crash", note="SIGILL")]
    rows += [measurement("Q8_0", "decode_tokens_per_second", [10.0, 12.0])]
    row = named(built(rows), "Q8_0")
    assert row.value("decode_tokens_per_second") == 11.0 and row.failure is None


def test_medians_for_repetitions_and_means_for_windows() -> None:
    speeds, windows = [10.0, 11.0, 12.0, 13.0, 14.0, 99.0], [0.001, 0.002, 0.009]
    rows = [
        measurement("Q8_0", "decode_tokens_per_second", speeds),
        measurement("Q8_0", "kl_divergence", windows),
    ]
    row = named(built(rows), "Q8_0")
    assert row.value("decode_tokens_per_second") == median(speeds)
    between = row.cells["decode_tokens_per_second"].interval
    assert between is not None and (between.low, between.high) == (10.0, 99.0)
    assert row.value("kl_divergence") == pytest.approx(mean(windows))


def test_perplexity_is_the_exponential_with_its_interval() -> None:
    row = named(built([measurement("Q8_0", "negative_log_likelihood", [log(10), log(20), log(40)])]), "Q8_0")
    nll, perplexity = row.cells["negative_log_likelihood"], row.cells["perplexity"]
    assert perplexity.value == pytest.approx(20.0)
    assert nll.interval is not None and perplexity.interval is not None
    assert perplexity.interval.low == pytest.approx(exp(nll.interval.low))
    assert perplexity.interval.high == pytest.approx(exp(nll.interval.high))


def test_a_perplexity_beyond_numbers_is_explained() -> None:
    cell = named(built([measurement("Q8_0", "negative_log_likelihood", [900.0, 901.0])]), "Q8_0").cells["perplexity"]
    assert cell.value is None and "too large" in cell.note


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_are_explained(bad: float) -> None:
    report = built([measurement("Q8_0", "kl_divergence", [0.1, bad])])
    cell = named(report, "Q8_0").cells["kl_divergence"]
    assert cell.value is None and "not numbers" in cell.note
    json.dumps(stored.to_json(report), allow_nan=False)


def test_outcomes_that_are_none_are_explained() -> None:
    cell = named(built([measurement("Q8_0", "accuracy", [1.5] * len(ITEMS))]), "Q8_0").cells["accuracy"]
    assert cell.value is None and "not between 0 and 1" in cell.note


def test_a_single_sample_has_no_interval() -> None:
    cell = named(built([measurement("Q8_0", "load_seconds", [0.3])]), "Q8_0").cells["load_seconds"]
    assert (cell.value, cell.interval, cell.n) == (0.3, None, 1)


def test_a_divergence_from_another_reference_does_not_count() -> None:
    row = measurement("Q8_0", "kl_divergence", [0.1, 0.2], parameters={"reference": "onnx-fp32"})
    cell = named(built([row]), "Q8_0").cells["kl_divergence"]
    assert (cell.value, cell.status) == (None, "stale")
    assert "onnx-fp32" in cell.note and "F16" in cell.note


def test_a_row_about_an_earlier_file_does_not_count() -> None:
    cell = named(built([measurement("Q8_0", "load_seconds", [1.0], artifact_sha256="old")]), "Q8_0").cells
    assert cell["load_seconds"].status == "stale"


def test_a_format_without_a_file_is_a_row() -> None:
    row = measurement("Q2_K", "decode_tokens_per_second", [], status="crash", note="conversion died of SIGABRT")
    made = named(built([row]), "Q2_K")
    assert made.size_bytes is None and made.failure is not None and "SIGABRT" in made.failure.sentence


def test_a_file_without_measurements_is_a_row() -> None:
    made = named(built([]), "Q8_0")
    assert made.size_bytes == 144_800_000
    assert {cell.status for name, cell in made.cells.items()} == {"missing"}
    assert built([]).answer.pick is None


def test_reference_and_source_diverge_by_zero_by_definition() -> None:
    report = build([artifact("F16")], [], device=device(), context=context())
    for name in ("F16", "source"):
        cell = named(report, name).cells["kl_divergence"]
        assert (cell.value, cell.n) == (0.0, 0) and cell.note.startswith("zero by definition")
    assert named(report, "source").size_bytes == 98_400_000


def test_a_measured_divergence_of_the_source_is_kept() -> None:
    assert named(recorded.report(), "source").value("kl_divergence") == pytest.approx(0.0031, rel=0.3)


def test_a_crash_of_the_reference_divergence_stays_a_crash() -> None:
    row = measurement("F16", "kl_divergence", [], status="crash", note="SIGSEGV")
    assert named(built([row]), "F16").cells["kl_divergence"].status == "crash"


def test_loss_is_paired_by_item_name_and_not_by_place() -> None:
    reference = measurement("F16", "accuracy", outcomes(3), parameters={"items": ITEMS})
    turned = measurement("Q8_0", "accuracy", outcomes(3, 5)[::-1], parameters={"items": ITEMS[::-1]})
    loss = named(built([reference, turned]), "Q8_0").loss
    assert loss == paired_difference(outcomes(3), outcomes(3, 5))
    assert loss is not None and (loss.lost, loss.gained) == (1, 0)


def test_loss_over_common_items_says_so() -> None:
    reference = measurement("F16", "accuracy", outcomes())
    half = measurement("Q8_0", "accuracy", outcomes()[:80], parameters={"items": ITEMS[:80]})
    row = named(built([reference, half]), "Q8_0")
    assert row.loss is not None and row.loss.n == 80 and "80 items" in row.loss_note


def test_loss_without_items_in_common_is_explained() -> None:
    reference = measurement("F16", "accuracy", outcomes())
    other = measurement("Q8_0", "accuracy", [1.0, 0.0], parameters={"items": ["x", "y"]})
    row = named(built([reference, other]), "Q8_0")
    assert row.loss is None and row.loss_note == "it shares no item with the reference"


def test_loss_without_a_reference_is_explained() -> None:
    row = named(built([measurement("Q8_0", "accuracy", outcomes())]), "Q8_0")
    assert row.loss is None and "reference has no accuracy" in row.loss_note
    assert named(built([]), "F16").loss_note == "this is the reference"


def test_groups_hold_only_pairs_that_cannot_be_told_apart() -> None:
    report = recorded.report()
    assert report.groups
    ties = {r.format: set(r.ties) for r in report.rows}
    for group in report.groups:
        assert all(b in ties[a] for a in group for b in group if a != b)
        assert not any(set(group) < set(other) for other in report.groups)


def test_groups_of_a_clear_case() -> None:
    rows = [
        measurement("F16", "accuracy", outcomes()),
        measurement("Q8_0", "accuracy", outcomes(1)),
        measurement("Q2_K", "accuracy", outcomes(*range(60))),
    ]
    report = built(rows, formats=("F16", "Q8_0", "Q2_K"))
    assert report.groups == (("F16", "Q8_0"),)
    assert named(report, "Q2_K").ties == ()


def test_the_grid_is_marked_from_the_tensor_types() -> None:
    sharer = artifact("Q4_0", tensor_types={"Q4_1": 0.8, "Q8_0": 0.2})
    rows = measurements()
    about = context(rescaled=False, quantised_source=None)
    report = build([artifact("F16"), sharer], rows, device=device(), context=about)
    mark = named(report, "Q4_0").mark("quality not transferable")
    assert mark is not None and "Q4_1 grid" in mark.sentence
    assert named(report, "F16").mark("quality not transferable") is None
    off_grid = build([sharer], rows, device=device(), context=replace(about, rescaled=True))
    assert named(off_grid, "Q4_0").mark("quality not transferable") is None


def test_marks_from_notes_of_artifacts_and_rows() -> None:
    rows = [
        measurement("Q8_0", "load_seconds", [1.0], note="retried without repacked kernels: SIGILL"),
        measurement("Q8_0", "decode_tokens_per_second", [1.0], parameters={"settings": {"repack": False}}),
        measurement("Q8_0", "prefill_tokens_per_second", [1.0], emulated=True),
    ]
    one = artifact("Q8_0", notes=("fell back: 3 of 9 tensors", "failed gate: cosine 0.2", "made on a Tuesday"))
    row = named(build([one], rows, device=device(), context=context()), "Q8_0")
    marks = {m.code: m.sentence for m in row.marks}
    assert marks["fell back"] == "3 of 9 tensors"
    assert marks["failed gate"] == "cosine 0.2"
    assert marks["note"] == "made on a Tuesday"
    said = [m.sentence for m in row.marks if m.code == "retried without repacked kernels"]
    assert said == ["SIGILL", "measured without llama.cpp's repacked kernels"]
    assert "another machine" in marks["emulated"]


def test_one_crash_is_one_mark() -> None:
    crashed = named(recorded.report(), recorded.CRASHED)
    assert [m.code for m in crashed.marks] == ["crashed"]
    assert crashed.marks[0].sentence.startswith("every measurement: SIGSEGV")


def test_rows_are_ordered_by_size() -> None:
    sizes = [r.size_bytes or 0 for r in recorded.report().rows]
    assert sizes == sorted(sizes, reverse=True)


def test_the_device_is_the_default_limit() -> None:
    tight = build(artifacts(), measurements(), device=device(usable_ram_bytes=1), context=context())
    assert tight.answer.pick is None and tight.answer.nearest is not None


def test_report_survives_json() -> None:
    report = recorded.report()
    text = json.dumps(stored.to_json(report), allow_nan=False)
    assert stored.from_json(json.loads(text)) == report


def test_rebuilding_from_stored_rows_gives_the_same_report() -> None:
    report = recorded.report()
    rows = [Measurement.from_json(json.loads(json.dumps(m.to_json()))) for m in measurements()]
    values = json.loads(json.dumps(stored.to_json(report)))
    kept = stored.from_json(values)
    assert build(artifacts(), rows, device=kept.device, context=kept.context) == report


def test_another_schema_is_refused() -> None:
    with pytest.raises(Error, match="schema 99"):
        stored.from_json({**stored.to_json(recorded.report()), "schema": 99})


def test_everything_may_be_empty() -> None:
    report = build([], [], device=device(), context=context(quantised_source=None, reference=""))
    assert report.rows == () and report.groups == () and report.answer.pick is None
