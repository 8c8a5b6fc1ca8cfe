"""Task files: each type is read as it is documented, and a bad file is refused at its line, whatever its size."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgequant import Error
from edgequant.accuracy import items

CHOICE = {"id": "a", "kind": "k", "type": "choice", "prompt": "q?", "choices": ["x", "y"], "answer": 1}
SHORT = {"id": "b", "kind": "k", "type": "short", "prompt": "1 + 1 =", "answers": ["2"], "max_tokens": 4}
NO_COMMA = {"rule": "punctuation:no_comma"}
RULES = {"id": "d", "kind": "k", "type": "rules", "prompt": "Hi!", "rules": [NO_COMMA], "max_tokens": 4}


def test_the_built_in_text() -> None:
    text = items.TEXT_FILE.read_text(encoding="utf-8")
    assert len(text) > 24_000  # 8,000 tokens at three characters each
    assert "def " in text and "ß" in text and any("\u4e00" <= c <= "\u9fff" for c in text)


def test_finding(tmp_path: Path) -> None:
    assert items.find("knowledge") == items.TASKS_FOLDER / "knowledge.jsonl"
    own = tmp_path / "mine.jsonl"
    own.write_text("")
    assert items.find(str(own)) == own
    with pytest.raises(Error, match="unknown task 'nothing'") as caught:
        items.find("nothing")
    assert "knowledge" in caught.value.hint


def write(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_each_type(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u\u2028"}]
    talk = {**{key: value for key, value in SHORT.items() if key != "prompt"}, "id": "c", "messages": messages}
    file = write(tmp_path / "x.jsonl", CHOICE, "", SHORT, talk, {**RULES, "source": "ours", "difficulty": "hard"})
    choice, short, conversation, by_rules = items.read([file])
    assert (choice.choices, choice.answer, choice.messages) == (("x", "y"), 1, [{"role": "user", "content": "q?"}])
    assert (short.answers, short.max_tokens, short.difficulty) == (("2",), 4, "")
    assert conversation.messages == messages
    assert (by_rules.rules, by_rules.max_tokens, by_rules.difficulty) == ((NO_COMMA,), 4, "hard")


def test_a_file_that_an_editor_of_windows_wrote(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(CHOICE).encode() + b"\r\n\r\n" + json.dumps(SHORT).encode())
    assert [item.id for item in items.read([file])] == ["a", "b"]


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "no item"),
        ("[]", "no item"),
        ("5", "no item"),
        ('"text"', "no item"),
        ("null", "no item"),
        (without(CHOICE, "id"), "lacks 'id'"),
        (without(CHOICE, "kind"), "lacks 'kind'"),
        (without(CHOICE, "type"), "lacks 'type'"),
        (without(CHOICE, "prompt"), "lacks 'prompt'"),
        ({**CHOICE, "type": "essay"}, "type 'essay' is not known"),
        ({**CHOICE, "choices": ["x"], "answer": 0}, "at least two choices"),
        (without(CHOICE, "choices"), "at least two choices"),
        (without(CHOICE, "answer"), "index of one"),
        ({**CHOICE, "answer": 2}, "index of one"),
        ({**CHOICE, "answer": "B"}, "answer is no whole number"),
        ({**CHOICE, "answer": 1.0}, "answer is no whole number"),
        ({**CHOICE, "answer": True}, "answer is no whole number"),
        ({**CHOICE, "answer": -1}, "index of one"),
        ({**CHOICE, "choices": ["x", "x"]}, "two choices are the same"),
        ({**CHOICE, "choices": "xy"}, "choices is no list"),
        ({**CHOICE, "choices": ["x", ""]}, "none is empty"),
        ({**CHOICE, "choices": [1, 2]}, "are texts"),
        ({**CHOICE, "id": 7}, "are texts"),
        ({**CHOICE, "id": ["a"]}, "are texts"),
        ({**CHOICE, "prompt": ""}, "none is empty"),
        ({**CHOICE, "prompt": 5}, "are texts"),
        ({**SHORT, "answers": []}, "needs answers and max_tokens"),
        (without(SHORT, "max_tokens"), "needs answers and max_tokens"),
        ({**SHORT, "max_tokens": 0}, "needs answers and max_tokens"),
        ({**SHORT, "max_tokens": "8"}, "max_tokens is no whole number"),
        ({**SHORT, "difficulty": 3}, "difficulty is a text"),
        ({**SHORT, "prompt": "\ud800"}, "surrogate"),
        (without(RULES, "rules"), "lacks 'rules'"),
        ({**RULES, "rules": []}, "no item: rules is a list of objects"),
        ({**RULES, "rules": [{"rule": "punctuation:no_dots"}]}, "no item: the rule 'punctuation:no_dots' is not known"),
        ({**RULES, "rules": [{**NO_COMMA, "n": 1}]}, "has no parameter 'n'"),
        (without(RULES, "max_tokens"), "needs max_tokens"),
        ("[" * 100_000, "no item"),
        ('{"id": ' + "9" * 5000 + "}", "no item"),
        ({**SHORT, "answers": "2"}, "answers is no list"),
        ({**SHORT, "answers": [2]}, "are texts"),
        ({**without(SHORT, "prompt"), "messages": []}, "none is empty"),
        ({**SHORT, "messages": "hello"}, "no item"),
        ({**SHORT, "messages": [{"role": "user"}]}, "lacks 'content'"),
        ({**SHORT, "messages": [{"role": "assistant", "content": "Hi"}]}, "the last message is the user's"),
        ({**SHORT, "messages": [{"role": "tool", "content": "1"}, {"role": "user", "content": "q"}]}, "roles are"),
        ({**SHORT, "id": "a"}, "the id 'a' comes twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, said: str) -> None:
    file = write(tmp_path / "bad.jsonl", CHOICE, row)
    with pytest.raises(Error, match=said) as caught:
        items.read([file])
    assert f"{file}, line 2" in str(caught.value)


def test_a_line_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(json.dumps(CHOICE).encode() + b"\n\n\xff\xfe\n")
    with pytest.raises(Error, match="line 3: no item"):
        items.read([file])


def test_a_line_without_end_is_not_read(tmp_path: Path) -> None:
    """200 MB without a line's end, of which little more than one line's limit is ever held."""
    file = write(tmp_path / "huge.jsonl", CHOICE)
    with file.open("r+b") as stream:
        stream.truncate(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(Error, match=r"huge\.jsonl, line 2: the line is longer than 1,048,576 bytes"):
            items.read([file])
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_line_of_the_limit_is_read(tmp_path: Path) -> None:
    room = items.MAX_LINE_BYTES - len(json.dumps({**SHORT, "prompt": ""})) - 1
    full, over = ({**SHORT, "prompt": "x" * n} for n in (room, room + 1))
    assert len(items.read([write(tmp_path / "full.jsonl", full)])[0].messages[0]["content"]) == room
    with pytest.raises(Error, match="line 1: the line is longer"):
        items.read([write(tmp_path / "over.jsonl", over)])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Error, match="cannot be read"):
        items.read([tmp_path])


def test_an_id_that_comes_twice_in_two_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.jsonl", CHOICE), write(tmp_path / "2.jsonl", SHORT, CHOICE)
    with pytest.raises(Error, match=r"2\.jsonl, line 2: the id 'a' comes twice"):
        items.read([first, second])


def test_files_without_items(tmp_path: Path) -> None:
    with pytest.raises(Error, match="hold no items"):
        items.read([write(tmp_path / "empty.jsonl", "", "  ")])
