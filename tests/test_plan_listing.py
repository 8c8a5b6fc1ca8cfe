"""The table of a plan: eighty columns, every speed with its interval, and under it what a reader has to know."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from edgequant.convert import formats
from edgequant.profiles import device
from edgequant.profiles.planning import plan
from edgequant.report import plan_listing
from published_models import llama_3_2_3b


def planned(name: str = "rpi5-8gb", **changes: Any) -> plan.Plan:
    """Llama-3.2-3B in three formats."""
    found = device.load(name)
    rows = tuple(
        plan.predict(replace(llama_3_2_3b(), fused=True), formats.find(each), found, context=2048)
        for each in ("F16", "Q4_K_M", "onnx-int8")
    )
    made = plan.Plan(
        checkpoint="m",
        device=name,
        context=2048,
        formats=rows,
        disk_bytes=12_600_000_000,
        conversion_memory_bytes=410_000_000,
        conversion_seconds=600.0,
    )
    return replace(made, **changes)


def listed(made: plan.Plan) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(plan_listing.plan(made))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def line(text: str, name: str) -> str:
    return next(each for each in text.splitlines() if each.strip().startswith(name))


def test_the_table_is_eighty_columns_wide_and_says_that_it_predicts() -> None:
    text = listed(planned())
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert text.startswith("Predicted for m on rpi5-8gb at 2048 tokens of context; nothing is measured.")
    headers = ["format", "file", "memory", "fits", "context", "prefill/s", "decode/s", "load"]
    assert line(text, "format").split() == headers
    assert "12.6 GB of disk and 410 MB of memory, and about 10 minutes here" in " ".join(text.split())


def test_speeds_have_their_intervals_and_their_basis() -> None:
    made = planned()
    q4 = replace(
        made.formats[1],
        decode_tokens_per_second=4.96,
        decode_tokens_per_second_low=3.22,
        decode_tokens_per_second_high=7.44,
        prefill_tokens_per_second=123.4,
        prefill_tokens_per_second_low=67.9,
        prefill_tokens_per_second_high=222.1,
        speed_basis="probe",
    )
    text = listed(replace(made, formats=(q4,)))
    assert "123 (68-222)" in line(text, "Q4_K_M") and "5.0 (3.2-7.4)" in line(text, "Q4_K_M")
    assert "from a probe of the machine" in " ".join(text.split())
    assert "from the device's profile alone" in " ".join(listed(made).split())


def test_what_does_not_fit_and_what_is_slow_is_said() -> None:
    text = listed(planned("rpi4-4gb"))
    rows = {name: line(text, name).split() for name in ("F16", "Q4_K_M", "onnx-int8")}
    assert (rows["F16"][5], rows["Q4_K_M"][5]) == ("NO", "yes")
    assert rows["F16"][6] == "0"  # tokens of context that fit
    said = " ".join(text.split())
    assert "F16: needs about 6.8" in said and "of the 3.94 GB that rpi4-4gb has for programs" in said
    made = planned("rpi4-4gb")
    slow = replace(made.formats[2], mark="slow here", mark_reason="because")
    assert "onnx-int8 !" in listed(replace(made, formats=(slow,)))
    assert "! onnx-int8: slow here: because" in listed(replace(made, formats=(slow,)))


@pytest.mark.parametrize("note", ["", "an estimate"])
def test_sizes_that_are_not_exact_are_marked(note: str) -> None:
    made = planned()
    text = listed(replace(made, formats=(replace(made.formats[1], size_note=note),)))
    assert ("~2.0" in text) is bool(note) and ("~ an estimate" in text) is bool(note)


def test_what_is_not_known_is_not_invented() -> None:
    unknown = replace(
        planned().formats[0],
        peak_memory_bytes=None,
        fits=None,
        largest_context=None,
        memory_line=None,
        load_seconds=None,
        decode_tokens_per_second=None,
        prefill_tokens_per_second=None,
        speed_basis="",
    )
    text = listed(planned(formats=(unknown,), conversion_memory_bytes=None, conversion_seconds=None))
    assert line(text, "F16").split()[3:] == ["not", "known", "?", "?", "not", "known", "not", "known", "?"]
    assert "memory grows" not in text and "brackets" not in text
    assert "Speeds are not known where" in listed(planned(formats=(unknown,)))


def test_as_json_everything_is_there_and_called_a_prediction() -> None:
    values = json.loads(json.dumps(planned().to_json()))
    q4 = values["formats"][1]
    assert values["predicted"] is True and q4["format"] == "Q4_K_M"
    assert q4["memory_line"].keys() == {"intercept_bytes", "bytes_per_token", "from_tokens"}
    for metric in ("decode", "prefill"):
        low, estimate, high = (q4[f"{metric}_tokens_per_second{end}"] for end in ("_low", "", "_high"))
        assert 0 < low < estimate < high
