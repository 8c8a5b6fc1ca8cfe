r"""Task items: one JSON object a line, one file a kind; the built-in ones lie in tasks/.

A file of your own has the same form: UTF-8, one object a line, empty lines allowed, no line over a mebibyte. Each has

    id          a text that comes once in all files of a run: results are compared item by item
    kind        a text; results are summed up by it. The built-in kinds are the names of the files in tasks/
    type        "choice", "short" or "rules"
    prompt      what the user says; or instead
    messages    a conversation, [{"role": "user", "content": "..."}, ...], which ends with what the user says;
                roles are "system", "user" and "assistant"
    difficulty  a text, may be left out; the built-in ones are "easy", "medium" and "hard"

and, by its type,

    choice      "choices", two or more different texts, and "answer", the index of the right one from 0. Nothing is
                generated: the choice wins that is most likely a byte of its text, so let them be of like length
    short       "answers", the accepted texts, and "max_tokens". The answer is generated greedily and must be one of
                them; case, surrounding quotes and asterisks and a closing full stop do not matter. Where an accepted
                answer is a number, the last number of a longer text counts, too
    rules       "rules" and "max_tokens". The answer is generated greedily and must follow every rule, for instance
                {"rule": "length_constraints:number_words", "num_words": 20, "relation": "at most"}.
                The rules and their parameters are the table RULES in rules.py and the functions that it names

    {"id": "x-1", "kind": "knowledge", "type": "choice", "prompt": "...?", "choices": ["a", "b"], "answer": 0}
    {"id": "x-2", "kind": "mathematics", "type": "short", "prompt": "...?", "answers": ["42"], "max_tokens": 8}
    {"id": "x-3", "kind": "instruction", "type": "rules", "prompt": "...", "rules": [{"rule": "punctuation:no_comma"}],
     "max_tokens": 64}    (on one line)

Other keys are let through and not used.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error
from . import rules

TASKS_FOLDER = Path(__file__).parent / "tasks"
TEXT_FILE = Path(__file__).parent / "text" / "evaluation.txt"
MAX_LINE_BYTES = 2**20  # a file that is no task file may be one line of any size
_TYPES = ("choice", "short", "rules")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question; `answer` is the index of the right choice, `answers` are the accepted short answers."""

    id: str
    kind: str
    type: str  # "choice" | "short" | "rules"
    messages: Sequence[Mapping[str, str]]
    choices: Sequence[str] = ()
    answer: int = -1
    answers: Sequence[str] = ()
    rules: Sequence[Mapping[str, Any]] = ()  # as rules.checked lets them pass
    max_tokens: int = 0
    difficulty: str = ""


def built_in() -> list[Path]:
    """The task files of this project."""
    return sorted(TASKS_FOLDER.glob("*.jsonl"))


def find(name: str) -> Path:
    """The file of a built-in task by its name, or a file of the user's own by its path."""
    known = {file.stem: file for file in built_in()}
    if name in known:
        return known[name]
    if Path(name).is_file():
        return Path(name)
    raise Error(f"unknown task {name!r}", hint=f"known tasks: {', '.join(known)}; or name a .jsonl file")


def read(files: Sequence[Path]) -> list[Item]:
    """All items of the files; `Error` names file and line of one that does not read, or an id that comes twice."""
    items: dict[str, Item] = {}
    for file in files:
        for where, line in _lines(file):
            item = _parse(line, where=where)
            if item.id in items:
                raise Error(f"{where}: the id {item.id!r} comes twice")
            items[item.id] = item
    if not items:
        raise Error("the task files hold no items")
    return list(items.values())


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """Where each line stands, and the line, if it is not empty; never more of the file than one line of the limit."""
    try:
        with file.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{file}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    raise Error(f"{where}: the line is longer than {MAX_LINE_BYTES:,} bytes", hint="one item a line")
                if line.strip():
                    yield where, line
    except OSError as error:
        raise Error(f"{file} cannot be read: {error.strerror}") from None


def _parse(line: bytes, *, where: str) -> Item:
    try:
        row: dict[str, Any] = json.loads(line.decode("utf-8-sig"))
        messages = row["messages"] if "messages" in row else [{"role": "user", "content": row["prompt"]}]
        item = Item(
            id=row["id"],
            kind=row["kind"],
            type=row["type"],
            messages=[{"role": m["role"], "content": m["content"]} for m in messages],
            choices=_listed(row, "choices"),
            answer=_whole(row, "answer", -1),
            answers=_listed(row, "answers"),
            rules=rules.checked(row["rules"]) if row["type"] == "rules" else (),
            max_tokens=_whole(row, "max_tokens", 0),
            difficulty=row.get("difficulty", ""),
        )
    except KeyError as error:
        raise Error(f"{where}: the item lacks {error.args[0]!r}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Error(f"{where}: no item: {error}") from None
    _check_texts(item, where)
    _check_type(item, where)
    return item


def _listed(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts; a bare text would fall apart into its letters."""
    value = row.get(key, [])
    if not isinstance(value, list):
        raise TypeError(f"{key} is no list")
    return tuple(value)


def _whole(row: Mapping[str, Any], key: str, default: int) -> int:
    value = row.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key} is no whole number")
    return value


def _check_texts(item: Item, where: str) -> None:
    texts = [item.id, item.kind, *item.choices, *item.answers, *(text for m in item.messages for text in m.values())]
    if not item.messages or not all(isinstance(text, str) and text for text in texts):
        raise Error(f"{where}: id, kind, prompt, messages, choices and answers are texts, and none is empty")
    if not isinstance(item.difficulty, str):
        raise Error(f"{where}: difficulty is a text")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise Error(f"{where}: half of a surrogate pair is no character") from None
    if item.messages[-1]["role"] != "user" or not all(m["role"] in _ROLES for m in item.messages):
        raise Error(f"{where}: roles are {', '.join(_ROLES)}, and the last message is the user's")


def _check_type(item: Item, where: str) -> None:
    if item.type not in _TYPES:
        raise Error(f"{where}: the type {item.type!r} is not known", hint=f"known types: {', '.join(_TYPES)}")
    if item.type == "choice" and not (len(item.choices) > 1 and 0 <= item.answer < len(item.choices)):
        raise Error(f"{where}: a choice needs at least two choices, and an answer that is the index of one")
    if item.type == "choice" and len(set(item.choices)) < len(item.choices):
        raise Error(f"{where}: two choices are the same")
    if item.type == "short" and not (item.answers and item.max_tokens > 0):
        raise Error(f"{where}: a short answer needs answers and max_tokens")
    if item.type == "rules" and item.max_tokens < 1:
        raise Error(f"{where}: an answer by rules needs max_tokens")
