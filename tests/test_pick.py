"""The pick on made-to-measure rows: one situation a test."""

import re
from dataclasses import replace

import pytest

import recorded
from edgequant import Error
from edgequant.report.answer import Answer, Limits
from edgequant.report.pick import pick
from edgequant.report.rows import Mark, Row
from recorded import crashed_row, missing, reference_row, row, tied

GB = 1e9


def codes(answer: Answer, name: str) -> list[str]:
    return [reason.code for reason in answer.verdict(name).reasons]


def without(made: Row, metric: str) -> Row:
    return replace(made, cells={**made.cells, metric: missing("it was never measured")})


def test_least_divergence_wins() -> None:
    answer = pick([row("Q4_0", nats=0.3), row("Q6_K", nats=0.02), row("Q5_K_M", nats=0.05)])
    assert (answer.pick, answer.runner_up) == ("Q6_K", "Q5_K_M")
    assert answer.equals == ("Q6_K",)


def test_the_reference_is_an_ordinary_candidate() -> None:
    assert pick([reference_row(), row("Q4_0", nats=0.3)]).pick == "F16"


def test_an_equal_that_decodes_faster_wins() -> None:
    answer = pick(tied(reference_row(), row("Q8_0", nats=0.004, decode=140), row("Q6_K", nats=0.007, decode=150)))
    assert answer.pick == "Q6_K"
    assert answer.equals == ("F16", "Q8_0", "Q6_K")
    assert answer.runner_up == "Q8_0"


def test_a_difference_in_speed_within_the_intervals_leaves_it_to_size() -> None:
    rows = tied(row("Q8_0", mb=145, nats=0.004, decode=142), row("Q6_K", mb=138, nats=0.007, decode=140))
    assert pick(rows).pick == "Q6_K"
    assert "smallest file" in pick(rows).reasons[0]


def test_an_equal_that_is_slower_but_smaller_loses() -> None:
    assert pick(tied(row("Q8_0", mb=145, nats=0.004, decode=160), row("Q6_K", mb=138, nats=0.007))).pick == "Q8_0"


def test_just_touching_intervals_are_not_faster() -> None:
    rows = tied(row("A", mb=100, nats=0.001, decode=104, noise=2), row("B", mb=90, nats=0.002, decode=100, noise=2))
    assert pick(rows).pick == "B"


@pytest.mark.parametrize("decode, expected", [(149, "B"), (151, "A")])
def test_single_samples_may_each_be_a_fifth_off(decode: float, expected: str) -> None:
    fast = row("A", mb=100, nats=0.001, decode=decode, noise=None)
    assert pick(tied(fast, row("B", mb=90, nats=0.002, noise=None))).pick == expected


@pytest.mark.parametrize("nats, expected", [(0.01, "fast"), (0.0101, "best")])
def test_an_equal_may_diverge_by_a_hundredth(nats: float, expected: str) -> None:
    assert pick(tied(row("best", nats=0.002), row("fast", nats=nats, decode=200))).pick == expected


def test_told_apart_in_accuracy_is_not_equal_however_near() -> None:
    answer = pick([row("best", nats=0.002), row("fast", nats=0.003, decode=200)])
    assert answer.pick == "best"


def test_nearer_but_told_apart_is_explained() -> None:
    best, apart, fast = row("best", nats=0.001), row("apart", nats=0.002), row("fast", nats=0.003, decode=200)
    rows = [replace(best, ties=("fast",)), apart, replace(fast, ties=("best",))]
    answer = pick(rows)
    assert answer.pick == "fast"
    assert any(s.startswith("apart does not count as equally good") for s in answer.reasons)


def test_when_the_best_itself_is_far_nothing_equals_it() -> None:
    assert pick(tied(row("Q4_K_M", nats=0.05), row("Q4_0", nats=0.06, decode=300))).equals == ("Q4_K_M",)


def test_among_three_the_smallest_of_those_not_beaten_wins() -> None:
    rows = tied(
        row("slow", mb=50, nats=0.001, decode=50),
        row("quick", mb=120, nats=0.002, decode=101),
        row("quicker", mb=140, nats=0.003, decode=103),
    )
    assert pick(rows).pick == "quick"


def test_crashed_is_out_and_named() -> None:
    answer = pick([crashed_row("IQ4_XS"), row("Q4_0", nats=0.3)])
    assert answer.pick == "Q4_0"
    assert codes(answer, "IQ4_XS") == ["failed"]
    assert "SIGSEGV" in answer.verdict("IQ4_XS").reasons[0].sentence


@pytest.mark.parametrize("code", ["crashed", "out of memory", "timed out"])
def test_all_failed(code: str) -> None:
    answer = pick([crashed_row("A", code=code), crashed_row("B", code=code)])
    assert (answer.pick, answer.runner_up, answer.nearest) == (None, None, None)
    assert answer.headline.startswith("Nothing can be picked")
    assert len(answer.reasons) == 2


def test_a_part_that_is_unsupported_is_no_failure() -> None:
    mark = Mark(code="unsupported", sentence="peak anonymous bytes: this system does not tell")
    assert pick([replace(row("A"), marks=(mark,))]).pick == "A"


def test_nothing_to_pick_from() -> None:
    assert pick([]).pick is None


def test_one_format_has_no_runner_up() -> None:
    answer = pick([row("only")])
    assert (answer.pick, answer.runner_up) == ("only", None)
    assert answer.runner_up_reason == "There is no runner-up: nothing else fits."


@pytest.mark.parametrize("code", ["failed gate", "not eligible"])
def test_what_is_not_offered_is_out(code: str) -> None:
    bad = replace(row("bad", nats=0.0), marks=(Mark(code=code, sentence="says the caller"),))
    answer = pick([bad, row("good", nats=0.3)])
    assert answer.pick == "good"
    assert codes(answer, "bad") == ["not eligible"]


@pytest.mark.parametrize(
    "limits, code",
    [
        (Limits(max_memory_bytes=199e6), "memory"),
        (Limits(max_size_bytes=99e6), "size"),
        (Limits(min_decode=101), "decode"),
        (Limits(min_prefill=501), "prefill"),
    ],
)
def test_each_limit_binds_and_says_so(limits: Limits, code: str) -> None:
    fits = row("fits", mb=50, nats=0.5, decode=300, prefill=900, rss_mb=100)
    answer = pick([row("good", nats=0.001), fits], limits)
    assert answer.pick == "fits"
    assert codes(answer, "good") == [code]
    assert any(s.startswith("good is out:") for s in answer.reasons)


def test_a_limit_met_exactly_is_met() -> None:
    limits = Limits(max_memory_bytes=200e6, max_size_bytes=100e6, min_decode=100, min_prefill=500)
    assert pick([row("exact")], limits).pick == "exact"


def test_memory_reason_names_the_figure() -> None:
    answer = pick([row("big", rss_mb=2100)], Limits(max_memory_bytes=2 * GB))
    assert answer.headline == "Nothing fits. Nearest is big: a peak RSS of 2.10 GB is over 2.00 GB."


def test_the_nearest_miss_is_the_least_excess() -> None:
    rows = [row("far", rss_mb=900), row("near", rss_mb=210), row("worse", rss_mb=300)]
    answer = pick(rows, Limits(max_memory_bytes=200e6))
    assert answer.nearest is not None
    assert (answer.nearest.format, answer.nearest.binds) == ("near", ("memory",))


def test_one_limit_broken_is_nearer_than_two() -> None:
    rows = [row("two", mb=101, rss_mb=201), row("one", mb=100, rss_mb=260)]
    nearest = pick(rows, Limits(max_memory_bytes=200e6, max_size_bytes=100e6)).nearest
    assert nearest is not None and nearest.format == "one"


def test_contradictory_limits_name_all_that_bind() -> None:
    answer = pick([row("A")], Limits(max_size_bytes=1, min_decode=1e6, max_memory_bytes=1, min_prefill=1e6))
    assert answer.pick is None
    assert answer.nearest is not None
    assert answer.nearest.binds == ("size", "prefill", "memory", "decode")


def test_a_number_that_looks_like_its_limit_gets_more_digits() -> None:
    answer = pick([row("A", rss_mb=2000.4)], Limits(max_memory_bytes=2 * GB))
    assert "2.00 GB (2.0004e+09) is over 2.00 GB (2e+09)" in answer.headline


@pytest.mark.parametrize(
    "loss, standing",
    [
        ((3.0, 1.1, 5.0), "out"),
        ((3.0, 1.0, 5.0), "not certain"),
        ((0.2, -0.5, 0.9), "certified"),
        ((0.2, -0.5, 1.0), "certified"),
        ((-4.0, -6.0, -2.0), "certified"),
    ],
)
def test_loss_is_judged_by_its_whole_interval(loss: tuple[float, float, float], standing: str) -> None:
    answer = pick([row("A", loss=loss)], Limits(max_loss=1.0))
    assert answer.verdict("A").standing == standing
    assert (answer.pick is None) == (standing == "out")


def test_not_certain_is_said_plainly() -> None:
    answer = pick([row("A", loss=(0.5, -2.0, 3.0))], Limits(max_loss=1.0))
    (said,) = [s for s in answer.reasons if s.startswith("Not certain")]
    assert "-2.0 to 3.0" in said and "160 items" in said


def test_certified_and_not_certain_are_both_ranked_by_divergence() -> None:
    rows = [row("sure", nats=0.2, loss=(0, -1, 1)), row("unsure", nats=0.1, loss=(0.5, -2, 3))]
    assert pick(rows, Limits(max_loss=1.0)).pick == "unsure"


def test_the_reference_loses_nothing() -> None:
    assert pick([reference_row()], Limits(max_loss=0)).verdict("F16").standing == "certified"


def test_without_a_limit_of_loss_nothing_is_certified() -> None:
    assert pick([row("A")]).verdict("A").standing == "fits"


@pytest.mark.parametrize(
    "lacking, limits",
    [
        ("peak_rss_bytes", Limits(max_memory_bytes=GB)),
        ("decode_tokens_per_second", Limits(min_decode=1)),
        ("decode_tokens_per_second", Limits(prefer="speed")),
        ("prefill_tokens_per_second", Limits(min_prefill=1)),
        ("kl_divergence", Limits()),
    ],
)
def test_a_missing_number_that_the_question_needs_is_out(lacking: str, limits: Limits) -> None:
    answer = pick([without(row("gap", nats=0.001, decode=500), lacking), row("whole", nats=0.3)], limits)
    assert answer.pick == "whole"
    assert codes(answer, "gap") == ["missing"]
    assert "it was never measured" in answer.verdict("gap").reasons[0].sentence


def test_a_missing_number_that_the_question_does_not_need_is_no_matter() -> None:
    assert pick([without(row("gap", nats=0.001), "prefill_tokens_per_second")], Limits(min_decode=1)).pick == "gap"
    small = without(row("small", mb=10), "kl_divergence")
    assert pick([small, row("big")], Limits(prefer="size")).pick == "small"


def test_missing_loss_under_a_limit_of_loss() -> None:
    answer = pick([row("A", loss=None)], Limits(max_loss=1))
    assert answer.pick is None
    assert "no accuracy was measured" in answer.verdict("A").reasons[0].sentence


def test_no_file_is_out() -> None:
    assert codes(pick([row("A", mb=None)]), "A") == ["missing"]


def test_an_equal_of_unknown_speed_does_not_win_by_size() -> None:
    rows = tied(row("A", mb=100, nats=0.001), row("B", mb=50, nats=0.002, decode=None))
    assert pick(rows).pick == "A"


def test_prefer_speed_and_size() -> None:
    rows = [row("good", nats=0.001), row("fast", mb=150, nats=0.4, decode=300), row("small", mb=50, nats=0.5)]
    assert pick(rows, Limits(prefer="speed")).pick == "fast"
    assert pick(rows, Limits(prefer="size")).pick == "small"
    assert pick(rows, Limits(prefer="size")).runner_up == "good"


def on_grid(made: Row) -> Row:
    sentence = "the weights lie on the Q4_1 grid, and 80 % of this file is Q4_1"
    return replace(made, marks=(Mark(code="quality not transferable", sentence=sentence),))


def test_a_sharer_of_the_grid_never_wins_on_quality() -> None:
    rows = [on_grid(row("Q4_1", nats=0.003)), row("Q8_0", nats=0.004)]
    answer = pick(rows)
    assert (answer.pick, answer.runner_up) == ("Q8_0", None)
    assert codes(answer, "Q4_1") == ["grid"]
    assert any("Q4_1 grid" in s for s in answer.reasons)


def test_a_sharer_of_the_grid_may_win_on_speed() -> None:
    assert pick([on_grid(row("Q4_1", decode=200)), row("Q8_0")], Limits(prefer="speed")).pick == "Q4_1"


def test_only_sharers_of_the_grid() -> None:
    answer = pick([on_grid(row("Q4_1"))])
    assert answer.pick is None
    assert answer.nearest is not None and answer.nearest.binds == ("grid",)


def source_row(mb: float = 98.4) -> Row:
    return row("source", mb=mb, nats=0.0, is_source=True, tensor_types={"Q4_1": 1.0})


def test_nothing_larger_than_the_source_wins_on_quality() -> None:
    answer = pick([row("Q8_0", mb=145, nats=0.001), source_row(), row("Q4_0", mb=92, nats=0.3)])
    assert (answer.pick, answer.runner_up) == ("source", "Q4_0")
    assert codes(answer, "Q8_0") == ["source"]
    assert answer.headline == "Ship the source file as it is (Q4_1)."


def test_without_the_source_the_larger_may_win() -> None:
    answer = pick([row("Q8_0", mb=145, nats=0.001), source_row(), row("Q4_0", mb=92, nats=0.3)])
    assert answer.without_source == "Q8_0"
    assert "one would pick Q8_0" in answer.without_source_reason


def test_a_limit_that_rules_out_the_source_lets_the_larger_in() -> None:
    heavy = source_row()
    heavy = replace(heavy, cells={**heavy.cells, "peak_rss_bytes": row("x", rss_mb=900).cells["peak_rss_bytes"]})
    answer = pick([row("Q8_0", mb=145, nats=0.001), heavy, row("Q4_0", mb=92, nats=0.3)], Limits(max_memory_bytes=5e8))
    assert (answer.pick, answer.without_source) == ("Q8_0", "Q8_0")


def test_the_same_pick_with_and_without_the_source() -> None:
    answer = pick(tied(source_row(), row("fast", mb=90, nats=0.001, decode=200)))
    assert answer.pick == "fast" == answer.without_source
    assert answer.without_source_reason.endswith("the pick would be the same: fast.")


def test_no_source_no_second_answer() -> None:
    answer = pick([row("A")])
    assert (answer.without_source, answer.without_source_reason) == (None, "")


def test_the_source_bars_nothing_from_winning_on_size_or_speed() -> None:
    rows = [row("Q8_0", mb=145, decode=300), source_row()]
    assert pick(rows, Limits(prefer="speed")).pick == "Q8_0"


def test_the_sentence_carries_every_number_with_its_interval() -> None:
    answer = pick([row("Q6_K", mb=138, nats=0.0071, decode=151, noise=4, loss=(0.6, -3.2, 4.6))])
    assert answer.headline == "Ship Q6_K."
    for part in ("138 MB on disk", "200 MB of memory at its peak (RSS)", "decodes 151 (147 to 155)", "0.0071 nats"):
        assert part in answer.detail
    assert "loses 0.6 points" in answer.detail and "-3.2 to 4.6; 160 items, 3 lost, 3 gained" in answer.detail


@pytest.mark.parametrize(
    "estimate, words", [(2.0, "loses 2.0 points"), (-2.0, "scores 2.0 points above"), (0.0, "scores the same as")]
)
def test_gain_and_loss_are_told_in_words(estimate: float, words: str) -> None:
    assert words in pick([row("A", loss=(estimate, -9, 9))]).detail


def test_those_that_cannot_be_told_apart_are_named() -> None:
    answer = pick(tied(row("A", nats=0.02), row("B", nats=0.05), row("C", nats=0.08)))
    assert "Its accuracy cannot be told apart from that of B and C (at 95 %, all pairs together)." in answer.reasons


def test_a_fallback_of_the_pick_is_minded() -> None:
    fell = replace(
        row("Q4_K_M"),
        marks=(Mark(code="fell back", sentence="180 of 272 tensors have rows (576) that fit no block of its types"),),
    )
    (said,) = [s for s in pick([fell]).reasons if s.startswith("Mind")]
    assert re.search(r"180 of 272 tensors .* fit no block of its types, .* 8\.50 bits a weight", said)


@pytest.mark.parametrize("name", ["max_memory_bytes", "max_size_bytes", "min_decode", "min_prefill", "max_loss"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_limits_that_are_none_are_refused(name: str, value: float) -> None:
    with pytest.raises(Error, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_an_unknown_preference_lists_the_known() -> None:
    with pytest.raises(Error) as caught:
        Limits(prefer="luck")
    assert "quality, speed, size" in caught.value.hint


def test_the_recorded_run() -> None:
    answer = recorded.report().answer
    assert answer.pick == "source"
    assert answer.runner_up == "Q3_K_M"
    assert answer.without_source in ("Q8_0", "Q6_K")
    assert codes(answer, recorded.CRASHED) == ["failed"]
    assert answer.limits.max_memory_bytes == 6_400_000_000
