"""Which formats of a run come first: from recorded plans, and from picks that turned out otherwise."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgequant.profiles.planning.plan import Plan, PlannedFormat
from edgequant.steps.order import foreseen_nats, order

#: format -> bits a weight: of plans for a model of Qwen2.5-1.5B's shape and for Llama 3 8B
QWEN_1B = {
    "F16": 16.0,
    "Q8_0": 8.5,
    "Q6_K": 6.57,
    "Q5_K_M": 5.73,
    "Q4_K_M": 5.0,
    "Q4_0": 4.72,
    "Q3_K_M": 4.14,
    "Q2_K": 3.39,
    "onnx-int8": 9.2,
    "onnx-w8a8": 8.2,
}
N_QWEN, N_LLAMA, N_SMOL = 1_543_714_304, 8_030_261_248, 134_515_008


def plan(
    bits: Mapping[str, float] = QWEN_1B,
    *,
    n_weights: int = N_QWEN,
    usable_bytes: float = 16e9,
    decode: Mapping[str, tuple[float, float]] | None = None,
) -> Plan:
    """A plan for a device with so much memory; `decode` has the ends of predicted speeds."""
    return Plan(
        checkpoint="model",
        device="device",
        context=4096,
        disk_bytes=0,
        conversion_memory_bytes=0,
        formats=tuple(
            PlannedFormat(
                format=name,
                container="onnx" if name.startswith("onnx") else "gguf",
                size_bytes=int(width * n_weights / 8),
                tensor_bytes=int(width * n_weights / 8),
                bits_per_weight=width,
                n_fallbacks=0,
                peak_memory_bytes=int(width * n_weights / 8),
                memory={},
                fits=width * n_weights / 8 <= usable_bytes,
                why="",
                decode_tokens_per_second_low=(decode or {}).get(name, (None, None))[0],
                decode_tokens_per_second_high=(decode or {}).get(name, (None, None))[1],
            )
            for name, width in bits.items()
        ),
    )


def test_the_foreseen_pick_comes_first_with_its_neighbours() -> None:
    found = order(plan())
    assert found.ladder == ("F16", "onnx-int8", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
    assert found.foreseen == "Q8_0"
    assert found.next(()) == ("Q8_0", "Q6_K", "onnx-int8")


def test_larger_models_bear_fewer_bits() -> None:
    """llama.cpp's table for Llama 3 8B: Q6_K 0.0055, Q5_K_M 0.0108 and Q4_K_M 0.0313 nats."""
    llama = {"F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.70, "Q4_K_M": 4.89}
    planned = {each.format: each for each in plan(llama, n_weights=N_LLAMA).formats}
    for name, nats in {"Q5_K_M": 0.0108, "Q4_K_M": 0.0313}.items():
        assert foreseen_nats(planned[name]) == pytest.approx(nats, rel=0.15)
    assert order(plan(llama, n_weights=N_LLAMA)).foreseen == "Q6_K"
    assert order(plan(llama, n_weights=N_SMOL)).foreseen == "Q8_0"


def test_a_small_device_takes_the_best_that_fits() -> None:
    found = order(plan(usable_bytes=0.95e9))
    assert found.ladder == ("Q4_0", "Q3_K_M", "Q2_K")
    assert found.foreseen == "Q4_0"
    assert found.next(()) == ("Q4_0", "Q3_K_M")


def test_where_nothing_fits_there_is_no_order() -> None:
    found = order(plan(usable_bytes=1e6))
    assert (found.ladder, found.foreseen) == ((), "")
    assert found.next(()) == tuple(QWEN_1B)


def test_of_equals_a_faster_one_wins_over_a_smaller_one() -> None:
    speeds = {"Q8_0": (20.0, 30.0), "Q6_K": (5.0, 9.0)}
    equal = {"F16": 16.0, "Q8_0": 8.5, "Q6_K": 7.5}
    assert order(plan(equal)).foreseen == "Q6_K"
    assert order(plan(equal, decode=speeds)).foreseen == "Q8_0"


def test_nothing_above_a_quantised_source_comes_first() -> None:
    assert order(plan(), largest_bytes=1.2e9).ladder == ("Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")


def test_neighbours_of_what_turned_out_best_come_next_and_then_all() -> None:
    found = order(plan())
    done = {"F16", *found.next(())}
    assert found.next(done, "Q6_K") == ("Q5_K_M",)
    assert found.next(done, "Q8_0") == ("Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "onnx-w8a8")
    assert found.next({*done, "Q5_K_M"}, "Q5_K_M") == ("Q4_K_M",)
    assert found.next(QWEN_1B.keys(), "Q5_K_M") == ()


@pytest.mark.parametrize("pick", [*QWEN_1B, "source", None])
def test_every_course_ends_with_everything_measured(pick: str | None) -> None:
    found, done, n_parts = order(plan()), set[str](), 0
    while names := found.next(done, pick if done else None):
        assert not done & {*names}
        done |= {*names}
        n_parts += 1
    assert done == {*QWEN_1B}
    assert 2 <= n_parts <= 3


def test_few_formats_are_measured_at_once() -> None:
    few = dict(list(QWEN_1B.items())[:4])
    assert order(plan(few)).next(()) == tuple(few)


def test_one_that_would_be_left_alone_comes_along() -> None:
    five = {name: QWEN_1B[name] for name in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")}
    assert order(plan(five)).next({"F16", "Q8_0", "Q6_K"}, "Q6_K") == ("Q5_K_M", "Q4_K_M")
