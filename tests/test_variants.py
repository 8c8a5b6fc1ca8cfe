"""What differs between measurements, in JSON and in words, and how many threads the samples speak for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgequant.profiles.measuring import threads, variant
from edgequant.profiles.measuring.variant import PLAIN, Variant
from edgequant.profiles.planning.plan import Plan, PlannedFormat
from edgequant.profiles.planning.predicted_speeds import speeds
from edgequant.profiles.records.store import Store
from recorded import measurement


def test_only_what_differs_is_told() -> None:
    assert PLAIN.to_json() == {}
    made = Variant(depth=1024, mmap=False, flash_attention=False)
    assert made.to_json() == {"depth": 1024, "flash_attention": False, "mmap": False}
    assert variant.described(made.to_json()) == "1,024 tokens deep, flash attention off, mmap off"
    assert variant.described({"sequences": 8, "threads": 1, "limit_memory_bytes": 10**9, "of_later": 3}) == (
        "8 users, 1 thread, memory limited to 1,000 MB, of_later 3"
    )


def test_every_field_has_its_words() -> None:
    values = {name: "q8_0" if name == "cache_type" else 7 for name in vars(PLAIN)}
    assert all(name not in variant.described({name: value}) for name, value in values.items() if "_" in name)


@pytest.mark.parametrize(
    ("changes", "differently"),
    [({"cache_type": "q8_0"}, True), ({"flash_attention": False}, True), ({"mmap": False, "depth": 9}, False)],
)
def test_what_changes_answers(changes: dict[str, object], differently: bool) -> None:
    assert replace(PLAIN, **changes).computes_differently is differently


def test_choices_are_combined_once_each() -> None:
    made = variant.combined({"depth": [0, 1024], "cache_type": ["f16", "q8_0"], "mmap": [True]})
    assert [each.to_json() for each in made] == [
        {}, {"cache_type": "q8_0"}, {"depth": 1024}, {"depth": 1024, "cache_type": "q8_0"},
    ]  # fmt: skip
    assert variant.combined({"depth": [0, 0]}) == (PLAIN,)
    assert variant.combined({}) == (PLAIN,)


def test_a_variant_and_the_plain_measurement_do_not_hide_each_other(tmp_path: Path) -> None:
    plain = measurement("Q8_0", "decode_tokens_per_second", [100.0])
    deep = replace(plain, parameters={**plain.parameters, "key": "deep", "variant": {"depth": 1024}})
    plain = replace(plain, parameters={**plain.parameters, "key": "plain"})
    store = Store(tmp_path / "results.jsonl")
    store.append([plain, deep, replace(plain, parameters={**plain.parameters, "key": "newer"})])
    assert store.has("deep") and store.has("newer") and not store.has("plain")


#: decode of a Raspberry Pi 5 as it is often reported: four cores share two memory channels' worth of bandwidth
MEMORY_BOUND = {1: [6.1, 6.0, 6.2], 2: [10.8, 10.9, 10.7], 3: [12.3, 12.4, 12.2], 4: [12.5, 12.6, 12.4]}


def test_threads_that_bring_nothing_are_left_out() -> None:
    assert threads.best(MEMORY_BOUND) == 3
    assert threads.best({1: [10.0], 2: [19.0], 4: [36.0], 8: [35.5]}) == 4


def test_the_median_decides_not_the_luckiest_sample() -> None:
    assert threads.best({2: [10.0, 10.1, 9.9], 4: [9.0, 9.1, 30.0]}) == 2


def test_just_within_and_just_beyond_three_per_cent() -> None:
    assert threads.best({1: [97.0], 2: [100.0]}) == 1
    assert threads.best({1: [96.9], 2: [100.0]}) == 2


def test_counts_that_failed_do_not_decide() -> None:
    assert threads.best({1: [], 2: [5.0]}) == 2
    assert threads.best({1: []}) is None and threads.best({}) is None


@pytest.mark.parametrize(
    ("most", "tried"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (7, (1, 2, 3, 4, 6, 7)), (8, (1, 2, 3, 4, 6, 8))]
)
def test_counts_worth_trying(most: int, tried: tuple[int, ...]) -> None:
    assert threads.candidates(most) == tried


def test_predictions_are_kept_with_their_ends_where_they_are_known() -> None:
    planned = PlannedFormat(
        format="Q8_0", container="gguf", size_bytes=1, tensor_bytes=1, bits_per_weight=8.5, n_fallbacks=0,
        peak_memory_bytes=None, memory={}, fits=None, why="",
        decode_tokens_per_second=5.0, decode_tokens_per_second_low=4.0, decode_tokens_per_second_high=6.0,
        prefill_tokens_per_second=50.0,
    )  # fmt: skip
    plan = Plan(
        checkpoint="m", device="rpi4-2gb", context=128, formats=(planned,), disk_bytes=0, conversion_memory_bytes=None
    )
    assert speeds(plan) == {"Q8_0": {"decode_tokens_per_second": [4.0, 5.0, 6.0]}}
