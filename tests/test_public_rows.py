"""Rows of the public sets in the fields of the Hub and of files in circulation, made up; and files that are wrong.

The prompts of the sets without real rows here were made by lm-evaluation-harness 0.4.13 of these very rows.
"""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgequant import Error
from edgequant.accuracy.public import choosing, examples, files, fixed_examples, reading, writing
from edgequant.accuracy.public.question import Question
from edgequant.accuracy.public.sets import SETS

Row = dict[str, Any]
LABELLED = {"choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": " 2"}
FLAT = {"choices": ["a", "b"], "answer": 1}
LISTED = [{"label": "A", "text": "a"}, {"label": "B", "text": "b"}]


def read(name: str, *rows: Any, folder: Path, **wanted: Any) -> list[Any]:
    file = write(folder / "rows.jsonl", *rows)
    return reading.read(reading.Wanted(set=SETS[name], file=file, **wanted))


def write(path: Path, *rows: Any) -> Path:
    said = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{row}\n" for row in said), encoding="utf-8")
    return path


def test_both_forms_of_a_row_ask_the_same() -> None:
    assert choosing.arc({"question": "q", **LABELLED}) == choosing.arc({"question": "q", **FLAT})
    assert choosing.openbookqa({"question_stem": "q", **LABELLED}) == choosing.openbookqa({"question": "q", **FLAT})
    hub = {"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    nested = {"question": {"stem": "q", "choices": LISTED}, "answerKey": "A"}
    assert choosing.commonsense_qa(hub) == choosing.commonsense_qa(nested)
    passage = {"passage": "p", "question": "q"}
    assert choosing.boolq({**passage, "label": 1}) == choosing.boolq({**passage, "answer": True})
    named = {"sentence": "X saw _ .", "option1": "a", "option2": "b", "answer": "2"}
    assert choosing.winogrande(named) == choosing.winogrande({"question": "X saw _ .", **FLAT})
    targets = {"choices": ["t", "f"], "labels": [1, 0]}
    assert choosing.truthfulqa_mc1({"question": "q", "mc1_targets": targets}) == choosing.truthfulqa_mc1(
        {"question": "q", "mc1_targets": {"t": 1, "f": 0}}
    )


def test_hellaswag_loses_the_marks_of_wikihow() -> None:
    row = {"endings": ["a [step] b.", "c"], "label": "1"}
    split = {**row, "activity_label": "Tea", "ctx_a": "Boil [title] pour", "ctx_b": "the Water"}
    assert choosing.hellaswag(split) == Question(text="Tea: Boil. pour The water", choices=["a b.", "c"], right=1)
    assert choosing.hellaswag({**row, "ctx": "Tea: boil the Water"}).text == "Tea: boil the Water"


def test_winogrande_scores_what_follows_the_gap(tmp_path: Path) -> None:
    row = {"sentence": "Ann saw Bo while _ sang. Good.", "option1": "Ann", "option2": "Bo", "answer": "1"}
    (item,) = read("winogrande", row, folder=tmp_path)
    assert item.pairs == [("Ann saw Bo while Ann", " sang. Good."), ("Ann saw Bo while Bo", " sang. Good.")]


def test_sets_without_real_rows_here(tmp_path: Path) -> None:
    pro = {"question": "q3 ?", "options": ["o0", "o1", "o2"], "answer": "B", "category": "law"}
    (item,) = read("mmlu_pro", pro, folder=tmp_path)
    assert item.pairs[1] == ("q3 ?\nA. o0\nB. o1\nC. o2\nAnswer:", " B") and item.right == 1
    story = {"narrative": "Story 0.\n\nEnd.", "question": "Who?", "choices": "['Ann B', 'Cid']", "answer_choice": "Cid"}
    (item,) = read("musr", story, folder=tmp_path)
    assert item.pairs[1] == ("Story 0.\n\nEnd.\n\nWho?\n\n1 - Ann B\n2 - Cid\n\nAnswer:", " Cid") and item.right == 1
    (item,) = read("piqa", {"goal": "goal 1", "sol1": "do a1", "sol2": "do bbb1", "label": 1}, folder=tmp_path)
    assert item.pairs[0] == ("Question: goal 1\nAnswer:", " do a1") and item.right == 1
    (item,) = read("lambada_openai", {"text": "The end is near the  last, word0"}, folder=tmp_path)
    assert item.pairs == [("The end is near the  last,", " word0")]


def test_gpqa_s_choices_have_one_order(tmp_path: Path) -> None:
    wrong = {f"Incorrect Answer {n}": f"no {n}" for n in (1, 2, 3)}
    rows = [{"Question": f"q{n}", "Correct Answer": " yes [1]", **wrong} for n in range(20)]
    items = read("gpqa", *rows, folder=tmp_path)
    assert items == read("gpqa", *rows, folder=tmp_path)
    assert {item.right for item in items} == {0, 1, 2, 3}
    for item in items:
        context, continuation = item.pairs[item.right]
        assert f"{continuation.strip()} yes \n" in context and context.endswith("\nAnswer: ")


def test_difficulty_where_a_set_tells(tmp_path: Path) -> None:
    rows = [{"question": "q", "subject": subject, **FLAT} for subject in ("college_biology", "virology")]
    assert [item.difficulty for item in read("mmlu", *rows, folder=tmp_path)] == ["hard", ""]
    sums = [{"problem": "p", "solution": r"\boxed{1}", "level": f"Level {n}", "type": "Algebra"} for n in (1, 3, 5)]
    assert [item.difficulty for item in read("math", *sums, folder=tmp_path)] == ["easy", "medium", "hard"]
    assert [item.difficulty for item in read("math_hard", *sums, folder=tmp_path)] == ["hard"]
    row = {"prompt": "p", "instruction_id_list": ["punctuation:no_comma"] * 2, "kwargs": [{}, {"x": None}]}
    assert writing.ifeval(row).difficulty == "medium"


def test_lengths_are_counted_in_characters(tmp_path: Path) -> None:
    (item,) = read("arc_easy", {"question": "q", "choices": ["\u00e9t\u00e9", "ab"], "answer": 0}, folder=tmp_path)
    assert item.n_characters == [3, 2]


def test_ids_come_from_the_content(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", **FLAT} for n in (1, 2, 1)]
    first, second, again = read("arc_easy", *rows, folder=tmp_path)
    assert again.id == f"{first.id}-2" and first.id.startswith("arc_easy@0:")
    assert [item.id for item in read("arc_easy", rows[1], {**rows[0], "idx": 5}, folder=tmp_path)] == [
        second.id, first.id,
    ]  # fmt: skip


def test_a_spare_example_is_drawn_where_the_harness_does() -> None:
    pool = [Question(text=f"{n}", answer="a") for n in range(50)]
    plain = list(examples.choose(pool[:9], pool, n=3, how="drawn"))
    spare = list(examples.choose(pool[:9], pool, n=3, how="drawn with a spare"))
    assert plain[0] == spare[0] and plain[1:] != spare[1:]  # one draw more a question
    assert all(len(shown) == 3 and question not in shown for question, shown in zip(pool, spare, strict=False))
    assert list(examples.choose(pool[:2], pool, n=2, how="first")) == [pool[:2], pool[:2]]
    with pytest.raises(Error, match="51 worked examples are wanted, and there are 50"):
        list(examples.choose(pool, pool, n=51, how="first"))


def test_examples_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Error, match="is asked with 5 worked examples") as caught:
        read("gsm8k", {"question": "q", "answer": "#### 1"}, folder=tmp_path, examples=5)
    assert "gsm8k.examples=FILE" in caught.value.hint


def test_fixed_examples_come_from_the_harness_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "leaderboard/bbh_mc/navigate.yaml"
    part.parent.mkdir(parents=True)
    part.write_text(
        "fewshot_config:\n  samples:\n" + "".join(f"  - input: i{n}\n    target: 'No'\n" for n in range(3)),
        encoding="utf-8",
    )
    sums = tmp_path / "minerva_math/utils.py"
    sums.parent.mkdir()
    listed = [{"problem": f"p{n}", "solution": rf"\boxed{{{n}}}", "few_shot": "1"} for n in range(4)]
    sums.write_text(
        f"import nothing\ndef list_fewshot_samples() -> list[dict]:\n    return {listed!r}\n", encoding="utf-8"
    )
    monkeypatch.setattr(fixed_examples, "harness_folder", lambda: tmp_path)
    row = {"task": "navigate", "input": "i", "target": "Yes"}
    (item,) = read("bbh", row, folder=tmp_path, examples=3)
    assert item.pairs[0][0] == (
        "Given a series of navigation instructions, determine whether one would end up back at the starting point."
        "Q: i0\nA: No\n\nQ: i1\nA: No\n\nQ: i2\nA: No\n\nQ: i\nA:"
    )
    (item,) = read("math", {"problem": "p", "solution": r"\boxed{5}"}, folder=tmp_path, examples=4)
    assert item.prompt.startswith("Problem:\np0\n\nSolution: \\boxed{0}\n\n") and item.answer == "5"
    with pytest.raises(Error, match=r"snarks\.yaml does not hold the worked examples"):
        read("bbh", {**row, "task": "snarks", "target": "(A)"}, folder=tmp_path, examples=3)
    monkeypatch.setattr(fixed_examples, "harness_folder", lambda: None)
    with pytest.raises(Error, match="it is not installed"):
        read("bbh", row, folder=tmp_path, examples=3)


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("arc_easy", "{", "no JSON"),
        ("arc_easy", "[1]", "not a JSON object"),
        ("arc_easy", {"question": "q"}, "lacks 'choices'"),
        ("arc_easy", {**FLAT}, "lacks 'question'"),
        ("arc_easy", {"question": 5, **FLAT}, "question is no text"),
        ("arc_easy", {"question": "q", **FLAT, "answer": 2}, "of 2 choices none has the index 2"),
        ("arc_easy", {"question": "q", **FLAT, "choices": "ab"}, "choices is no list of texts"),
        ("arc_easy", {"question": "q", **LABELLED, "answerKey": "C"}, "answerKey 'C' is none of 1, 2"),
        ("winogrande", {"question": "q", **FLAT}, "has no gap"),
        ("mmlu_pro", {"question": "q", "options": ["a", "b"], "answer": "?"}, "answer .* is none of A, B"),
        ("musr", {"narrative": "n", "question": "q", "choices": "f(", "answer_choice": "a"}, "no row of musr"),
        ("bbh", {"task": "dance", "input": "i", "target": "Yes"}, "part 'dance' is not known"),
        ("bbh", {"task": "navigate", "input": "i", "target": "maybe"}, "none of Yes, No"),
        ("truthfulqa_mc2", {"question": "q", "mc2_targets": {"a": 0}}, "no true answer"),
        ("truthfulqa_mc2", {"question": "q", "mc2_targets": {"labels": [1, 1], "choices": ["a", "b"]}}, "all are true"),
        ("arc_easy", {"question": "q \ud800", **FLAT}, "half of a surrogate pair"),
        ("math", {"problem": "p", "solution": "5"}, "no answer in"),
        ("ifeval", {"prompt": "p", "instruction_id_list": ["a:b"], "kwargs": [{}]}, "'a:b' is not known"),
        ("lambada_openai", {"text": "word"}, "no last word"),
    ],
)
def test_a_bad_row_is_named(name: str, row: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Error, match=said) as caught:
        read(name, "", row, folder=tmp_path)
    assert f"{tmp_path / 'rows.jsonl'}, line 2: " in str(caught.value)


def test_a_line_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n\n\xff\xfe\n")
    with pytest.raises(Error, match="line 3: no UTF-8"):
        list(files.read_rows(file))
    file.write_bytes(b'[{},\n{"a": "\xff"}]')
    with pytest.raises(Error, match="line 2: no UTF-8"):
        list(files.read_rows(file))


def test_a_line_of_200_megabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n")
    os.truncate(file, 200_000_000)  # a hole: no bytes on the disk
    tracemalloc.start()
    with pytest.raises(Error, match="line 2: the line has more than 4,000,000 bytes"):
        list(files.read_rows(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_array_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('\ufeff [\n {"a": 1},\n\n {"a":\n 2} ]', encoding="utf-8")
    assert list(files.read_rows(file)) == [(f"{file}, line 2", {"a": 1}), (f"{file}, line 4", {"a": 2})]
    file.write_text('[{"a": 1},\n5]', encoding="utf-8")
    with pytest.raises(Error, match="line 2: not a JSON object"):
        list(files.read_rows(file))
    file.write_text('[{"a": 1},\n{"b"', encoding="utf-8")
    with pytest.raises(Error, match="line 2: no JSON"):
        list(files.read_rows(file))


def test_files_without_rows_and_without_being(tmp_path: Path) -> None:
    with pytest.raises(Error, match="holds no rows of mmlu_virology"):
        read("mmlu", {"question": "q", "subject": "anatomy", **FLAT}, folder=tmp_path, subject="virology")
    with pytest.raises(Error, match="there is no file"):
        list(files.read_rows(tmp_path / "nowhere"))
