"""A question about a device or a kind of task: which figures count, and what the answer says of them."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

import recorded
from edgequant import Error
from edgequant.accuracy.paired import Interval
from edgequant.profiles.device import Device, load
from edgequant.profiles.planning.footprint import Line
from edgequant.profiles.records.measurement import SPEED_METRICS, Measurement
from edgequant.report.answer import Limits
from edgequant.report.markdown import markdown
from edgequant.report.predictions import Prediction
from edgequant.report.question import answer
from edgequant.report.table import Report, build
from edgequant.report.terminal import answer as in_terminal

PI = load("rpi5-8gb")
FORMATS = ("F16", "Q8_0", "Q4_0")
RIGHT = {"F16": "1111 1111 0110", "Q8_0": "1111 1110 0110", "Q4_0": "1111 0000 0110"}  # 8 of words, 4 of numbers
KINDS = ["words"] * 8 + ["numbers"] * 4


def measured(**changes: Any) -> list[Measurement]:
    """Three formats, of which Q4_0 has words wrong and numbers right."""
    rows = [row for row in recorded.measurements() if row.format in FORMATS and row.metric != "margin"]
    items = [f"item-{n}" for n in range(12)]
    asked = {"items": items, "kinds": KINDS, "chances": [0.0] * 12, "reference": "F16"}
    return [
        replace(
            row,
            samples=tuple(map(float, RIGHT[row.format].replace(" ", ""))),
            parameters={**row.parameters, **asked, **changes},
        )
        if row.metric == "accuracy"
        else row
        for row in rows
    ]


def report(rows: list[Measurement] | None = None, *, device: Device | None = None) -> Report:
    files = [recorded.artifact(name) for name in FORMATS]
    context = recorded.context(quantised_source=None, grid="")
    return build(files, rows or measured(), device=device or recorded.device(), context=context)


def predicted(decode: dict[str, float], *, peak: int = 500_000_000) -> dict[str, Prediction]:
    return {
        name: Prediction(
            context=2048,
            trained_context=2048,
            peak_memory_bytes=peak,
            memory=Line(intercept_bytes=peak, bytes_per_token=0, from_tokens=0),
            largest_context=2048,
            speeds={"decode_tokens_per_second": Interval(low=0.65 * rate, high=1.5 * rate, estimate=rate)},
        )
        for name, rate in decode.items()
    }


# -- kinds of items


def test_a_kind_is_judged_by_its_own_items() -> None:
    """Of all items Q4_0 lost a third, of numbers none: 4 of 8 words."""
    limits = Limits(max_loss=10, prefer="size")
    assert answer(report(), limits).pick == "Q8_0"
    asked = answer(report(), replace(limits, task="numbers"))
    assert asked.pick == "Q4_0"
    assert "scores the same as F16 in numbers" in asked.detail and "4 items, 0 lost, 0 gained" in asked.detail
    words = answer(report(), replace(limits, task="words"))
    assert [reason.code for reason in words.verdict("Q4_0").reasons] == ["loss"]
    assert "its loss of 50.0 points" in words.verdict("Q4_0").reasons[0].sentence


def test_a_kind_that_nobody_asked_names_those_that_were() -> None:
    with pytest.raises(Error) as caught:
        answer(report(), Limits(task="chess"))
    assert caught.value.hint == "there are: numbers, words"


def test_without_any_accuracy_it_says_how_to_get_some() -> None:
    rows = [row for row in measured() if row.metric != "accuracy"]
    with pytest.raises(Error) as caught:
        answer(report(rows), Limits(task="words"))
    assert "edgequant evaluate" in caught.value.hint


@pytest.mark.parametrize("chance, doubted", [(0.0, False), (0.25, True), (0.05, False)])
def test_what_the_reference_answers_by_guessing_makes_it_less_sure(chance: float, doubted: bool) -> None:
    """F16 has 2 of 4 numbers right: Wilson's interval is 0.15 to 0.85."""
    asked = answer(report(measured(chances=[chance] * 12)), Limits(task="numbers"))
    assert ("no more than guessing would" in asked.confidence) == doubted


# -- devices


def test_the_runs_own_device_keeps_its_figures_and_its_memory() -> None:
    own = recorded.device()
    asked = answer(report(), Limits(min_decode=100), device=own)
    assert asked.pick == answer(report(), Limits(min_decode=100)).pick == "Q8_0"
    assert asked.limits.max_memory_bytes == own.usable_ram_bytes
    assert answer(report(), Limits(max_memory_bytes=1e9), device=own).limits.max_memory_bytes == 1e9
    assert answer(report(), Limits(max_memory_bytes=1e12), device=own).limits.max_memory_bytes == own.usable_ram_bytes


def test_another_devices_figures_are_predicted_and_called_so() -> None:
    asked = answer(report(), Limits(min_decode=5), device=PI, predicted=predicted({"F16": 2, "Q8_0": 4, "Q4_0": 8}))
    assert asked.pick == "Q4_0"
    assert "decodes 8.00 (5.20 to 12.0, predicted)" in asked.detail
    assert "as predicted, 500 MB of memory" in asked.detail
    assert "its memory and decode are predicted, not measured" in asked.confidence
    assert "decode at 4.00 tokens/s is under 5.00 (predicted)" in asked.verdict("Q8_0").reasons[0].sentence
    assert asked.limits.max_memory_bytes == PI.usable_ram_bytes


def test_a_device_with_less_memory_than_anything_needs() -> None:
    guessed = predicted({"F16": 2, "Q8_0": 4, "Q4_0": 8}, peak=9_000_000_000)
    asked = answer(report(), Limits(), device=PI, predicted=guessed)
    assert asked.pick is None and asked.nearest is not None and asked.nearest.binds == ("memory",)


def test_without_a_prediction_the_host_tells_nothing_of_speed() -> None:
    asked = answer(report(), Limits(min_decode=5), device=PI)
    assert asked.pick is None
    assert {v.reasons[0].code for v in asked.verdicts} == {"missing"}
    plain = answer(report(), Limits(), device=PI)
    assert plain.pick == "Q8_0"
    assert "decodes" not in plain.detail and "(RSS, on another machine)" in plain.detail


def test_native_wants_what_the_device_measured() -> None:
    guessed = predicted({"F16": 2, "Q8_0": 4, "Q4_0": 8})
    asked = answer(report(), Limits(native=True), device=PI, predicted=guessed)
    assert {v.reasons[0].code for v in asked.verdicts} == {"emulated"}
    assert answer(report(), Limits(native=True)).pick == "Q8_0"


def on_a_pi(rows: list[Measurement]) -> list[Measurement]:
    """The rows' speeds as a Raspberry Pi 5 would have measured them of a bundle, a twentieth of the host's."""
    host = {"cpu": "Raspberry Pi 5 Model B Rev 1.0", "memory_bytes": 0.95 * PI.ram_bytes}
    return [
        replace(row, host=host, samples=tuple(x / 20 for x in row.samples))
        for row in rows
        if row.metric in SPEED_METRICS and row.format != "F16"
    ]


def test_figures_that_such_a_machine_measured_count_before_predictions() -> None:
    pi = replace(PI, cpu_names=("Raspberry Pi 5*",))
    own = report()
    theirs = report(on_a_pi(measured()), device=recorded.device(name="host", title="Raspberry Pi 5 Model B Rev 1.0"))
    both = replace(own, others=(theirs,))
    guessed = predicted({"F16": 2, "Q8_0": 99, "Q4_0": 99})
    asked = answer(both, Limits(min_decode=6, native=True), device=pi, predicted=guessed)
    assert asked.pick == "Q8_0"  # 139 / 20
    assert "decodes 6.9" in asked.detail or "decodes 7.0" in asked.detail
    assert "predicted" not in asked.detail
    assert asked.verdict("F16").reasons[0].code == "emulated"
    assert asked.level == "high"


# -- where it is shown


def test_every_sentence_is_in_the_terminal_and_in_markdown() -> None:
    made = recorded.report()
    console = Console(width=2000, file=StringIO())
    console.print(in_terminal(made.answer))
    printed, written = console.file.getvalue(), markdown(made).replace("\\", "")  # type: ignore[attr-defined]
    assert made.answer.confidence and made.answer.changes
    for sentence in made.answer.sentences:
        assert sentence in printed and sentence in written
    assert "What would change the answer:" in written
