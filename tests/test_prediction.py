"""The model of speed on numbers that are worked by hand, and what it takes of probes and profiles."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgequant.convert import formats
from edgequant.profiles import device
from edgequant.profiles.device import Cores, Device, KernelSpeed
from edgequant.profiles.planning import calibration, kernel_rates, loading, plan, prediction
from edgequant.profiles.planning.prediction import Machine
from edgequant.profiles.planning.work import Products, Work, work
from published_models import geometry, llama_3_2_3b

SIZES = geometry(2, 4, 64, n_heads=8, hidden=512)
WORK = Work(
    container="gguf",
    layers={"Q4_K": Products(weights=8e9, n_bytes=4.5e9), "Q6_K": Products(weights=1e9, n_bytes=0.82e9)},
    head={"Q8_0": Products(weights=2e9, n_bytes=2.125e9)},
    head_for_all=False,
    sizes=SIZES,
    kv_bytes_per_value=2,
    n_products=15,
)
MACHINE = Machine(
    bandwidth=10e9,
    decode={"Q4_K": 10e9, "Q6_K": 100e9, "Q8_0": 100e9},
    prefill={"Q4_K": 100e9, "Q6_K": 50e9, "Q8_0": 80e9, "F16": 40e9},
    holds_memory=frozenset(),
    layer_seconds=0.01,
    token_seconds=0.1,
    product_seconds=0.001,
    attention_seconds=0.002,
    attention_rate=1e6,
    basis="data sheet",
)


def board(**changes: Any) -> Device:
    return replace(device.load("rpi5-8gb"), **changes)


def test_a_token_takes_what_is_slower_of_reading_and_multiplying() -> None:
    """Q4_K multiplies for 0.8 s and reads for 0.45; Q6_K and the head read for 0.082 and 0.2125 s; 0.12 s are fixed.

    Fifteen products and two layers of attention cost a millisecond each, and two. Of 100 tokens two layers multiply
    2 x 8 x 64 values, for 0.2 s; without that they would read 2 x 4 x 64 of two bytes each.
    """
    expected = 0.8 + 0.082 + 0.2125 + 0.12 + 0.015 + 0.004 + 0.2048
    reading = replace(MACHINE, attention_rate=1e12)
    cache = 100 * 2 * 2 * 4 * 64 * 2 / 10e9
    assert prediction.decode_seconds(WORK, reading, depth=100) == pytest.approx(expected - 0.2048 + cache)
    assert prediction.decode_seconds(WORK, MACHINE, depth=100) == pytest.approx(expected)
    probed = replace(MACHINE, holds_memory=frozenset({"Q6_K"}))  # a rate that holds the memory's share already
    assert prediction.decode_seconds(WORK, probed, depth=100) == pytest.approx(expected - 0.082 + 0.01)
    unknown = replace(MACHINE, decode={"Q4_K": 10e9})
    assert prediction.decode_seconds(WORK, unknown, depth=100) is None


def test_a_prompt_takes_its_products_the_head_once_and_attention() -> None:
    """100 x (0.08 + 0.02) s of products, 0.02 of the head, 0.12 fixed; attention over 50 tokens on average."""
    scored = 2 * 2 * 8 * 64 * 50
    assert WORK.scored(50) == scored
    attention = 100 * scored / (prediction._ATTENTION_RATE * 40e9)
    expected = 100 * (0.08 + 0.02) + 0.02 + 0.12 + attention
    assert prediction.prefill_seconds(WORK, MACHINE, tokens=100) == pytest.approx(expected)
    for_all = prediction.prefill_seconds(replace(WORK, head_for_all=True), MACHINE, tokens=100)
    assert for_all == pytest.approx(expected - 0.02 + 100 * 2 / 80)
    batches = prediction.prefill_seconds(replace(WORK, container="onnx"), MACHINE_ONNX, tokens=300)
    assert batches == pytest.approx(3 * 0.12 + 300 * 0.1 + 0.02 + 300 * 3 * scored / (0.5 * 40e9))


MACHINE_ONNX = replace(MACHINE, prefill={**MACHINE.prefill, "onnx-fp32": 40e9})


def test_layers_with_a_window_look_no_further() -> None:
    slides = replace(WORK, sizes=replace(SIZES, slides=(True, False), window=10))
    assert slides.scored(50) == 2 * 8 * 64 * (10 + 50)
    assert slides.kv_bytes(50) == 2 * 2 * 4 * 64 * (10 + 50)
    attends = replace(WORK, sizes=replace(SIZES, attends=(True, False)))
    assert attends.kv_bytes(50) == 2 * 2 * 4 * 64 * 50


def test_what_a_format_multiplies_with() -> None:
    """Llama-3.2-3B: 3.21 billion weights a token, the tied embedding among them, 2.0 GB in Q4_K_M (a file of 2.02)."""
    found = work(llama_3_2_3b(), formats.find("Q4_K_M"))
    assert found.weights == pytest.approx(3.21e9, rel=0.002) and found.n_bytes == pytest.approx(2.01e9, rel=0.005)
    assert found.head.keys() == {"Q6_K"} and found.layers.keys() == {"Q4_K", "Q6_K"}
    assert found.head["Q6_K"].weights == 128256 * 3072
    onnx = work(replace(llama_3_2_3b(), fused=True), formats.find("onnx-w8a8"))
    assert (set(onnx.layers), set(onnx.head)) == ({"onnx-w8a8"}, {"onnx-int8"})
    assert not onnx.head_for_all and work(llama_3_2_3b(), formats.find("onnx-fp32")).head_for_all


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"measured_bandwidth_bytes_per_second": 10e9, "bandwidth_method": "read"}, 8.8e9),
        ({"measured_bandwidth_bytes_per_second": 10e9, "bandwidth_method": "memset"}, 8.8e9),
        ({"measured_bandwidth_bytes_per_second": 5e9, "bandwidth_method": "memcpy"}, 8.8e9),  # read and written
        ({"measured_bandwidth_bytes_per_second": 9e9, "bandwidth_method": "memcpy"}, 0.88 * 17.1e9),  # the bus's rate
        ({"measured_bandwidth_bytes_per_second": None}, 0.75 * 0.88 * 17.1e9),
        ({"measured_bandwidth_bytes_per_second": None, "theoretical_bandwidth_bytes_per_second": None}, None),
    ],
)
def test_bandwidth_from_what_a_profile_knows(changes: dict[str, Any], expected: float | None) -> None:
    assert prediction.effective_bandwidth(board(**changes)) == (expected and pytest.approx(expected))


def test_a_copy_on_x86_reads_what_it_is_to_write() -> None:
    n150 = device.load("n150-16gb")
    assert n150.bandwidth_method == "memcpy"
    known = n150.measured_bandwidth_bytes_per_second
    assert known and prediction.effective_bandwidth(n150) == pytest.approx(3 * 0.88 * known)


def test_cycles_are_those_of_the_cores_that_threads_run_on() -> None:
    hybrid = replace(
        device.load("i3-1315u-8gb"),
        cores=(Cores(kind="Raptor Cove", count=2, clock_hz=4e9), Cores(kind="Gracemont", count=4, clock_hz=3e9)),
    )
    assert kernel_rates.cycles_per_second(hybrid, 2) == pytest.approx(0.85 * 8e9)
    assert kernel_rates.cycles_per_second(hybrid, 4) == pytest.approx(0.85 * 8e9 + 0.65 * 0.5 * 6e9)
    assert kernel_rates.cycles_per_second(board(), 4) == pytest.approx(4 * 2.4e9)
    assert kernel_rates.cycles_per_second(board(cores=(Cores(kind="x", count=4),)), 4) is None
    assert kernel_rates.cycles_per_second(board(isa=()), 4) is None


def test_dot_products_make_the_difference_between_boards() -> None:
    found = {}
    for name in ("rpi4-8gb", "rpi5-8gb"):
        rate = kernel_rates.rate(device.load(name), "Q4_K", prefill=True)
        assert rate is not None
        found[name] = rate
    assert found["rpi5-8gb"] > 5 * found["rpi4-8gb"]
    assert kernel_rates.rate(device.load("rpi5-8gb"), "Q9", prefill=True) is None


def probed(kind: str, decode: float, prefill: float, *, threads: int = 4, container: str = "gguf") -> KernelSpeed:
    return KernelSpeed(
        container=container,
        type=kind,
        threads=threads,
        weights_per_second_decode=decode,
        weights_per_second_prefill=prefill,
        layer_seconds=1e-4,
        token_seconds=1e-3,
    )


def test_a_probe_goes_before_the_profile_and_scales_what_it_left_out() -> None:
    rows = (probed("Q4_K", 16e9, 60e9), probed("Q4_K", 1e9, 1e9, threads=1), probed("Q8_0", 8e9, 70e9))
    found = prediction.machine(board(kernels=rows), "gguf", ["Q4_K", "Q6_K"])
    plain = prediction.machine(board(), "gguf", ["Q4_K", "Q6_K"])
    assert (found.basis, plain.basis) == ("probe", "data sheet")
    assert (found.decode["Q4_K"], found.prefill["Q4_K"]) == (pytest.approx(0.88 * 16e9), 60e9)  # of as many threads
    assert found.holds_memory == {"Q4_K", "Q8_0"}
    ratios = sorted([60e9 / plain.prefill["Q4_K"], 70e9 / rate_of("Q8_0")])
    assert found.prefill["Q6_K"] == pytest.approx(plain.prefill["Q6_K"] * sum(ratios) / 2)
    assert found.bandwidth == pytest.approx(0.88 * 16e9 * 144 / 256)  # Q4_K's 9 GB/s, of Q8_0 8.5
    assert (found.layer_seconds, found.token_seconds) == (1e-4, 1e-3)
    onnx = prediction.machine(board(kernels=rows), "onnx", ["onnx-int8"])
    assert onnx.basis == "data sheet"


def rate_of(kind: str) -> float:
    found = kernel_rates.rate(board(), kind, prefill=True)
    assert found is not None
    return found


def test_intervals_are_narrower_the_more_is_known() -> None:
    for metric in ("decode", "prefill"):
        widths = [
            prediction.SPREADS[basis][metric][1] / prediction.SPREADS[basis][metric][0]
            for basis in ("measured rows", "probe", "data sheet")
        ]
        assert widths == sorted(widths) and all(down < 1 < up for down, up in [prediction.SPREADS["probe"][metric]])


def planned(decode: float | None = 10.0) -> plan.Plan:
    model = llama_3_2_3b()
    found = [plan.predict(model, formats.find(n), board(), context=2048) for n in ("Q8_0", "Q4_K_M")]
    found.append(plan.predict(replace(model, fused=True), formats.find("onnx-int8"), board(), context=2048))
    rows = tuple(replace(each, decode_tokens_per_second=decode) for each in found)
    return plan.Plan(
        checkpoint="m", device="rpi5-8gb", context=2048, formats=rows, disk_bytes=0, conversion_memory_bytes=None
    )


def row(name: str, *samples: float, metric: str = "decode_tokens_per_second") -> Any:
    """One of those that `evidence` chooses (test_evidence.py)."""
    return SimpleNamespace(format=name, metric=metric, samples=samples)


def test_measured_rows_put_the_speeds_right() -> None:
    made = calibration.calibrated(planned(), [row("Q8_0", 1.0), row("Q8_0", 7.0, 8.0, 9.0)])
    q8, q4, onnx = made.formats
    assert [each.decode_tokens_per_second for each in made.formats] == [8.0, 8.0, 10.0]  # another engine's stays
    assert (q8.speed_basis, q4.speed_basis, onnx.speed_basis) == ("measured rows", "measured rows", "data sheet")
    assert q4.decode_tokens_per_second_low == pytest.approx(0.85 * 8)
    assert q4.prefill_tokens_per_second == planned().formats[1].prefill_tokens_per_second
    both = calibration.calibrated(planned(), [row("Q8_0", 8.0), row("Q4_K_M", 20.0)])
    assert [each.decode_tokens_per_second for each in both.formats] == [8.0, 20.0, 10.0]


def test_rows_of_other_metrics_put_no_speed_right() -> None:
    assert calibration.calibrated(planned(), [row("Q8_0", 99.0, metric="load_seconds")]) == planned()


def test_what_nobody_predicted_is_not_put_right() -> None:
    assert calibration.calibrated(planned(None), [row("Q8_0", 8.0)]) == planned(None)


def test_a_device_of_whose_memory_nothing_is_known_has_no_speed_of_decode() -> None:
    bare = board(measured_bandwidth_bytes_per_second=None, theoretical_bandwidth_bytes_per_second=None)
    found = plan.predict(llama_3_2_3b(), formats.find("Q4_K_M"), bare, context=2048)
    assert (found.decode_tokens_per_second, found.decode_tokens_per_second_high, found.load_seconds) == (None,) * 3
    assert found.prefill_tokens_per_second == planned().formats[1].prefill_tokens_per_second  # memory is no matter
    nothing = plan.predict(llama_3_2_3b(), formats.find("Q4_K_M"), replace(bare, isa=()), context=2048)
    assert (nothing.prefill_tokens_per_second, nothing.speed_basis) == (None, "")


def test_a_probe_s_bandwidth_is_that_of_its_fastest_product_by_the_bytes_of_its_type() -> None:
    """onnx-int4: half a byte, a scale of 4 and half a byte of zero point for 32; old probes alone have IQ4_NL."""
    old = (probed("Q4_K", 16e9, 60e9), probed("IQ4_NL", 90e9, 60e9))
    assert prediction.machine(board(kernels=old), "gguf", ["Q4_K"]).bandwidth == pytest.approx(0.88 * 9e9)
    for kind, size in (("onnx-int4", 0.5 + 4.5 / 32), ("onnx-int8", 1 + 4 / 32), ("onnx-fp32", 4), ("onnx-w8a8", 1)):
        rows = (probed(kind, 10e9, 60e9, container="onnx"),)
        found = prediction.machine(board(kernels=rows), "onnx", [kind])
        assert found.bandwidth == pytest.approx(0.88 * 10e9 * size), kind


def test_a_clock_that_nobody_states_is_the_same_in_speeds_and_load_times() -> None:
    model, q8 = llama_3_2_3b(), formats.find("Q8_0")
    silent, slow = (
        board(cores=(Cores(kind="Cortex-A76", count=4, clock_hz=hertz),), storage_bytes_per_second=None)
        for hertz in (None, prediction._USUAL_CLOCK_HZ)
    )
    assert prediction.clock(silent) == prediction.clock(slow)
    assert loading.seconds(model, q8, silent) == loading.seconds(model, q8, slow)
    stated = loading.seconds(model, q8, board(storage_bytes_per_second=None))
    assert stated is not None and stated < (loading.seconds(model, q8, silent) or 0.0)


def test_every_kind_of_core_in_a_profile_is_known() -> None:
    """One that is in no table would count as the fastest of its family without anybody having said so."""
    for name in device.names()[1:]:
        found = device.load(name)
        family = kernel_rates.family(found.isa)
        assert family is not None, name
        for each in found.cores:
            assert each.kind in kernel_rates._CORES[family.name], f"{name}: {each.kind}"


def test_frugal_cores_count_as_such_once_threads_come_to_them() -> None:
    """A Core Ultra 7 155H: six at 4.8 GHz, then eight at 3.8 and two at 2.5 that do half as much a cycle."""
    ultra = device.load("core-ultra-155h-32gb")
    expected = 0.85 * (6 * 4.8e9 + 0.5 * 8 * 3.8e9 + 0.5 * 2 * 2.5e9)
    assert kernel_rates.cycles_per_second(ultra, 16) == pytest.approx(expected)


def test_a_head_that_lies_as_the_layers_do_is_computed_as_they_are() -> None:
    """For boards that unpack blocks (`kernels.unpacks_blocks`) the head of w8a8 is of w8a8, too."""
    model, w8a8 = replace(llama_3_2_3b(), fused=True), formats.find("onnx-w8a8")
    plain = work(replace(model, plain_head=True), w8a8)
    assert (set(plain.head), set(work(model, w8a8).head)) == ({"onnx-w8a8"}, {"onnx-int8"})
    assert plain.head["onnx-w8a8"].n_bytes == 128256 * 3072 + 4 * 128256  # a scale for each output
    assert work(replace(model, plain_head=True), formats.find("onnx-int8")).head.keys() == {"onnx-int8"}
    pi4 = device.load("rpi4-8gb")
    slow, quick = (prediction.speeds(each, pi4, context=2048)[0] for each in (work(model, w8a8), plain))
    assert slow and quick and quick.tokens_per_second > 1.3 * slow.tokens_per_second
