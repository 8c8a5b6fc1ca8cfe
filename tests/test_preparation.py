"""Text and items as token ids: windows, the beginning exactly once, and choices that join to the whole."""

import json
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant import Error
from edgequant.accuracy import items
from edgequant.accuracy.divergence import scored_positions
from edgequant.accuracy.items import Item
from edgequant.accuracy.preparation import (
    N_POSITIONS,
    UNSCORED_TOKENS,
    encode_item,
    passage,
    passage_context,
    prepare,
    read_prepared,
    windows,
)
from edgequant.convert.vocabulary.tokenizer import Tokenizer

BOS, EOS = 295, 296
PLAIN = "Question: the cat\nAnswer:"


def tokenizer(folder: Path, **changes: Any) -> Tokenizer:
    small_checkpoint.write_tokenizer(folder)
    small_checkpoint.change_json(folder / "tokenizer_config.json", **changes)
    return Tokenizer(folder)


def choice(*choices: str, prompt: str = "the cat") -> Item:
    messages = [{"role": "user", "content": prompt}]
    return Item(id="i", kind="k", type="choice", messages=messages, choices=choices or ("on", "the mat"), answer=0)


# -- windows


def test_windows_cover_the_text_in_its_order() -> None:
    tokens = list(range(1000))
    cut = windows(tokens, size=300, begin=[], n_positions=N_POSITIONS)
    assert [len(window) for window in cut] == [300, 300, 300, 100]
    assert [token for window in cut for token in window] == tokens


def test_long_texts_are_cut_off() -> None:
    """17 windows of 512 tokens, however long the text is: more than 8,000 scored positions."""
    cut = windows(list(range(20_000)), size=512, begin=[], n_positions=N_POSITIONS)
    assert sum(map(len, cut)) == 17 * 512
    assert sum(len(scored_positions(window)) for window in cut) == 17 * (512 - 32 - 1) == 8143


def test_every_window_begins_as_the_model_expects() -> None:
    tokens = list(range(1000, 2000))
    cut = windows(tokens, size=300, begin=[BOS], n_positions=N_POSITIONS)
    assert all(window[0] == BOS and window.count(BOS) == 1 for window in cut)
    assert [len(window) for window in cut] == [300, 300, 300, 104]
    assert [token for window in cut for token in window[1:]] == tokens


def test_a_short_rest_is_left_out() -> None:
    def lengths(n_tokens: int, begin: list[int]) -> list[int]:
        return [len(w) for w in windows(list(range(n_tokens)), size=300, begin=begin, n_positions=N_POSITIONS)]

    assert lengths(300 + 2 * UNSCORED_TOKENS, []) == [300]
    assert lengths(301 + 2 * UNSCORED_TOKENS, []) == [300, 65]
    assert lengths(0, []) == lengths(10, [BOS]) == []


def test_as_many_windows_as_the_passage_leaves() -> None:
    """12 of 479 positions beside the 2,528 of a passage of 2,561 tokens: 8,276."""
    cut = windows(list(range(20_000)), size=512, begin=[], n_positions=N_POSITIONS - 2528)
    assert len(cut) == 12 and 12 * 479 + 2528 == 8276


# -- items


@pytest.mark.parametrize(
    ("template", "adds_bos"),
    [
        (small_checkpoint.TEMPLATE, False),
        (small_checkpoint.TEMPLATE, True),  # which writes BOS itself
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", True),
        ("{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}", True),
        (None, True),
        (None, False),
    ],
)
def test_bos_exactly_once_and_choices_join_to_the_whole(tmp_path: Path, template: str | None, adds_bos: bool) -> None:
    ours = tokenizer(tmp_path, chat_template=template, tokenizer_class="LlamaTokenizerFast", add_bos_token=adds_bos)
    item = choice("on the mat", "the house", "12", " leading", "é")
    row = encode_item(item, ours)
    context = ours.render(item.messages) + "" if template else PLAIN + " "
    for text, ids in zip(item.choices, row["choices"], strict=True):
        whole = row["prompt"] + ids
        expected = ours.encode(context + text)
        assert whole == (expected if not adds_bos or expected[0] == BOS else [BOS, *expected])
        assert ids
    if adds_bos:
        assert row["prompt"][0] == BOS and row["prompt"][1:2] != [BOS]
    else:
        assert template or BOS not in row["prompt"]
    assert row["n_characters"] == [10, 9, 2, 8, 1] and row["right"] == 0 and row["metric"] == "acc_norm"
    assert row["n_scored"] == [len(ids) for ids in row["choices"]]


def test_a_choice_that_merges_with_the_end_of_the_prompt(tmp_path: Path) -> None:
    """The prompt is cut where the choices begin to differ from it: there a token may reach over the border."""
    ours = tokenizer(tmp_path, chat_template="{{ messages[0].content }} t")
    row = encode_item(choice("he mat", "wo", "xyz"), ours)
    assert ours.encode("the cat the mat")[: len(row["prompt"])] == row["prompt"]
    assert len(row["prompt"]) < len(ours.encode("the cat t"))
    for text, ids in zip(("he mat", "wo", "xyz"), row["choices"], strict=True):
        assert row["prompt"] + ids == ours.encode(f"the cat t{text}")


def test_a_short_item(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path)
    item = Item(
        id="s", kind="k", type="short", messages=[{"role": "user", "content": "1 + 1 ="}], answers=("2", "two"),
        max_tokens=5, difficulty="easy",
    )  # fmt: skip
    row = encode_item(item, ours)
    assert row["prompt"] == ours.encode("<|start|>user\n1 + 1 =<|end|>\n<|start|>assistant\n")
    assert {key: value for key, value in row.items() if key != "prompt"} == {
        "id": "s", "set": "", "kind": "k", "type": "short", "subject": "", "difficulty": "easy",
        "metric": "exact_match", "answers": ["2", "two"], "stops": [], "max_tokens": 5, "end_ids": [EOS],
    }  # fmt: skip


def test_an_item_by_rules(tmp_path: Path) -> None:
    rules = ({"rule": "length_constraints:number_words", "num_words": 3, "relation": "at most"},)
    messages = [{"role": "user", "content": "the cat"}]
    item = Item(id="r", kind="k", type="rules", messages=messages, rules=rules, max_tokens=9)
    row = encode_item(item, tokenizer(tmp_path))
    assert {key: row[key] for key in ("type", "metric", "rules", "max_tokens", "end_ids")} == {
        "type": "rules", "metric": "prompt_level_strict", "rules": list(rules), "max_tokens": 9, "end_ids": [EOS],
    }  # fmt: skip


def test_without_a_chat_template_turns_are_named(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path, chat_template=None)
    messages = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    item = Item(
        id="s", kind="k", type="short", messages=[{"role": r, "content": c} for r, c in messages], answers=("x",),
        max_tokens=1,
    )  # fmt: skip
    text = "Instruction: Be brief.\nQuestion: Hi\nAnswer: Hello\nQuestion: Bye\nAnswer:"
    assert encode_item(item, ours)["prompt"] == ours.encode(text)


# -- the whole


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    tokenizer(tmp_path / "model", tokenizer_class="LlamaTokenizerFast", add_bos_token=True)
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog ran. " * 60)
    rows = [
        {"id": "a", "kind": "k", "type": "choice", "prompt": "cat", "choices": ["on", "the"], "answer": 1},
        {"id": "b", "kind": "k", "type": "short", "prompt": "1 + 1", "answers": ["2"], "max_tokens": 8},
        {"id": "long", "kind": "k", "type": "short", "prompt": "x y " * 100, "answers": ["2"], "max_tokens": 8},
        {"id": "talks long", "kind": "k", "type": "short", "prompt": "x", "answers": ["2"], "max_tokens": 500},
        {"id": "chooses long", "kind": "k", "type": "choice", "prompt": "x", "choices": ["z " * 150, "y"], "answer": 1},
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "folder": str(tmp_path / "model"), "text": str(tmp_path / "text.txt"), "tasks": [str(tmp_path / "tasks.jsonl")],
        "suite": "quick", "context": 128, "target": str(tmp_path / "out" / "prepared.json"),
    }  # fmt: skip


def test_what_does_not_fit_the_context_is_left_out_and_counted(job: dict[str, Any]) -> None:
    said = prepare(job)
    prepared = small_checkpoint.read_json(Path(job["target"]))
    n_tokens = len(Tokenizer(Path(job["folder"])).encode("the cat sat on the mat, and the dog ran. " * 60))
    assert said == {"n_tokens": n_tokens, "n_items": 2, "n_left_out": 3}
    assert [item["id"] for item in prepared["items"]] == ["a", "b"]
    assert len(prepared["windows"]) > 1 and {len(w) for w in prepared["windows"][:-1]} == {128}
    assert all(window[0] == BOS for window in prepared["windows"])


def test_no_item_that_fits(job: dict[str, Any]) -> None:
    with pytest.raises(Error, match="no item fits the model's context of 10 tokens"):
        prepare({**job, "context": 10})
    assert not Path(job["target"]).exists()


@pytest.mark.parametrize("text", ["", "too short"])
def test_a_text_that_is_too_short(job: dict[str, Any], text: str) -> None:
    Path(job["text"]).write_text(text)
    with pytest.raises(Error, match="too short to be scored"):
        prepare(job)


def test_a_context_without_a_scored_position(job: dict[str, Any]) -> None:
    with pytest.raises(Error, match="in a context of 60 is too short to be scored"):
        prepare({**job, "context": 60})


def test_the_built_in_text_and_items_are_prepared(job: dict[str, Any]) -> None:
    built_in = {"text": str(items.TEXT_FILE), "tasks": [], "suite": "compact", "context": 4096}
    said = prepare({**job, **built_in})
    prepared = read_prepared(Path(job["target"]))
    assert said["n_items"] == len(items.read(items.built_in())) and said["n_tokens"] > 8000
    assert prepared["passage"]["scored"] == {"512": [512, 1024], "2048": [2048, 2560]}
    long = prepared["passage"]["tokens"]
    assert len(long) == 2561
    scored = [*map(len, map(scored_positions, prepared["windows"])), len(scored_positions(long))]
    assert sum(scored) == 8276
    assert prepared["windows"][0][1:] == Tokenizer(Path(job["folder"])).encode(items.TEXT_FILE.read_text())[2560:3071]
    asked = prepared["asked"]
    assert len(asked) == 16 and len({row["kind"] for row in asked}) >= 3
    assert {row["max_tokens"] for row in asked} == {64}
    prepare({**job, **built_in, "suite": "quick", "limit": 3})
    again = read_prepared(Path(job["target"]))
    assert [row["prompt"] for row in again["asked"]] == [row["prompt"] for row in asked]
    assert len(again["items"]) == 3 * len(items.built_in())


@pytest.mark.parametrize(
    ("context", "n_text", "scored"),
    [(4096, 5000, {"512": [512, 1024], "2048": [2048, 2560]}), (2560, 5000, {"512": [512, 1024]}),
     (2561, 5000, {"512": [512, 1024], "2048": [2048, 2560]}), (4096, 1025, {"512": [512, 1024]}),
     (4096, 1023, {}), (1024, 5000, {})],
)  # fmt: skip
def test_depths_that_context_and_text_hold(context: int, n_text: int, scored: dict[str, list[int]]) -> None:
    """A position is scored by the token after it, so 1,024 positions need 1,025 tokens."""
    found = passage(list(range(n_text)), context=context, begin=[BOS])
    assert found.get("scored", {}) == scored
    if scored:
        assert found["tokens"][0] == BOS and len(found["tokens"]) == max(stop for _, stop in scored.values()) + 1


def test_public_sets_and_ones_own_together(job: dict[str, Any], tmp_path: Path) -> None:
    """Each in the form of its own; a subject of one's own file has the set's metric."""
    row = {"id": "7", "question": "the cat", "choices": {"label": ["A", "B"], "text": ["on", "the mat"]}}
    (tmp_path / "arc.jsonl").write_text(json.dumps({**row, "answerKey": "B"}) + "\n")
    said = prepare({**job, "tasks": [*job["tasks"], f"arc_easy={tmp_path / 'arc.jsonl'}"]})
    own, public = (
        [item for item in read_prepared(Path(job["target"]))["items"] if bool(item["set"]) is is_public]
        for is_public in (False, True)
    )
    assert said["n_items"] == 3 and [item["id"] for item in own] == ["a", "b"]
    assert [(item["set"], item["metric"], item["right"], item["n_characters"]) for item in public] == [
        ("arc_easy", "acc_norm", 1, [2, 7])
    ]


@pytest.mark.parametrize(
    ("context", "longest", "expected"),
    [
        (2048, 8192, 2561),
        (2048, 2048, 2048),
        (2048, 0, 2048),
        (4096, 8192, 4096),
        (1024, 8192, 1024),
        (2048, 2300, 2300),
    ],
)
def test_after_2048_tokens_is_scored_beyond_a_context_of_so_many(context: int, longest: int, expected: int) -> None:
    """What is scored after 2,048 tokens needs 513 more, and only where the model was trained for them."""
    assert passage_context({"context": context, "longest_context": longest}) == expected
