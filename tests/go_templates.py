"""A renderer for what chat templates use of Go's text/template, written from its documentation.

That is at pkg.go.dev/text/template. Actions: text, values, if, else if, else, range, variables, parentheses, pipelines;
functions: eq, ne, and, or, not, len, index, slice. What is not known raises, and is never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|:=|[(),|]|\$?[\w.]*\$?\w*(?:\.\w+)*|\.)')
_KEYWORDS = ("if", "else", "range", "end")


@dataclass
class Node:
    """Text, a value to print, or a branch; `kind` is "text", "value", "set", "if" or "range"."""

    kind: str
    words: list[str] = field(default_factory=list)
    text: str = ""
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


def render(template: str, data: Mapping[str, Any]) -> str:
    """The template over the data, whose lists are sequences and whose structs are mappings."""
    nodes, rest = _parse(list(_pieces(template)))
    if rest:
        raise ValueError(f"an end too many: {rest[0]}")
    return "".join(_run(nodes, data, {"$": data}))


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """("text", ...) and ("action", ...), with the spaces gone that dashes trim."""
    at, trims = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip() if trims else text
        yield "text", text.rstrip() if match[1] else text
        yield "action", match[2].strip()
        at, trims = match.end(), bool(match[3])
    yield "text", template[at:].lstrip() if trims else template[at:]


def _parse(pieces: list[tuple[str, str]]) -> tuple[list[Node], list[tuple[str, str]]]:
    """Nodes up to an else or end that belongs to somebody else, and what is left from there."""
    nodes: list[Node] = []
    while pieces:
        kind, text = pieces[0]
        words = list(_words(text)) if kind == "action" and not text.startswith("/*") else []
        if words and words[0] in ("else", "end"):
            return nodes, pieces
        pieces = pieces[1:]
        if kind == "text":
            nodes.append(Node("text", text=text))
        elif words and words[0] in ("if", "range"):
            node, pieces = _branch(words, pieces)
            nodes.append(node)
        elif words:
            nodes.append(Node("set" if ":=" in words else "value", words))
    return nodes, []


def _branch(words: list[str], pieces: list[tuple[str, str]]) -> tuple[Node, list[tuple[str, str]]]:
    node = Node(words[0], words[1:])
    node.body, pieces = _parse(pieces)
    if not pieces:
        raise ValueError(f"{words[0]} without end")
    then = list(_words(pieces[0][1]))
    if then[:2] == ["else", "if"]:  # as if it were written inside the else
        inner, pieces = _branch(then[1:], pieces[1:])
        node.otherwise = [inner]
        return node, pieces
    if then == ["else"]:
        node.otherwise, pieces = _parse(pieces[1:])
    return node, pieces[1:]


def _words(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _WORD.match(text, at)
        if not match or not match[1]:
            raise ValueError(f"not understood: {text[at:]!r}")
        yield match[1]
        at = match.end()


def _run(nodes: Sequence[Node], dot: Any, names: dict[str, Any]) -> Iterator[str]:
    for node in nodes:
        if node.kind == "text":
            yield node.text
        elif node.kind == "value":
            yield _printed(_pipeline(node.words, dot, names))
        elif node.kind == "set":
            names[node.words[0]] = _pipeline(node.words[2:], dot, names)
        elif node.kind == "if":
            inner = dict(names)
            yield from _run(node.body if _pipeline(node.words, dot, names) else node.otherwise, dot, inner)
        else:
            yield from _ranged(node, dot, names)


def _ranged(node: Node, dot: Any, names: dict[str, Any]) -> Iterator[str]:
    at = node.words.index(":=") if ":=" in node.words else -1
    variables = [word for word in node.words[: max(at, 0)] if word != ","]
    values = _pipeline(node.words[at + 1 :], dot, names)
    for n, value in enumerate(values):
        bound = dict(zip(variables, (n, value) if len(variables) == 2 else (value,), strict=False))
        yield from _run(node.body, value, {**names, **bound})
    if not values:
        yield from _run(node.otherwise, dot, dict(names))


def _pipeline(words: Sequence[str], dot: Any, names: Mapping[str, Any]) -> Any:
    value, words = _command(list(words), dot, names)
    while words:
        if words[0] != "|":
            raise ValueError(f"not understood: {words}")
        value, words = _command(words[1:], dot, names, value)
    return value


def _command(words: list[str], dot: Any, names: Mapping[str, Any], *piped: Any) -> tuple[Any, list[str]]:
    """One command up to a bar or the end: a value, or a function with arguments."""
    if words and words[0] in _FUNCTIONS:
        name, words, arguments = words[0], words[1:], list[Any]()
        while words and words[0] != "|":
            value, words = _operand(words, dot, names)
            arguments.append(value)
        return _FUNCTIONS[name](*arguments, *piped), words
    if piped:
        raise ValueError(f"{words[0]} is no function")
    return _operand(words, dot, names)


def _operand(words: list[str], dot: Any, names: Mapping[str, Any]) -> tuple[Any, list[str]]:
    word, rest = words[0], words[1:]
    if word == "(":
        end = _closing(words)
        value, rest = _pipeline(words[1:end], dot, names), words[end + 1 :]
        if rest and rest[0].startswith("."):
            return _field(value, rest[0]), rest[1:]
        return value, rest
    if word[0] in '"`':
        return word[1:-1].encode().decode("unicode_escape") if word[0] == '"' else word[1:-1], rest
    if word.isdecimal():
        return int(word), rest
    if word.startswith("$"):
        name, _, fields = word.partition(".")
        return _field(names[name], f".{fields}" if fields else "."), rest
    if word.startswith("."):
        return _field(dot, word), rest
    raise ValueError(f"not understood: {word!r}")


def _closing(words: Sequence[str]) -> int:
    depth = 0
    for n, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if not depth:
            return n
    raise ValueError("a parenthesis is open")


def _field(value: Any, path: str) -> Any:
    """`.A.B` of a mapping; a key that is missing is the zero value, as Ollama asks for ("missingkey=zero")."""
    for name in filter(None, path.split(".")):
        value = value.get(name, "")
    return value


def _printed(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _sliced(value: Any, start: int = 0, end: int | None = None) -> Any:
    return value[start : len(value) if end is None else end]


def _indexed(value: Any, *places: Any) -> Any:
    for place in places:
        value = value[place]
    return value


_FUNCTIONS: Mapping[str, Any] = {
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda first, other: first != other,
    "and": lambda *values: next((value for value in values[:-1] if not value), values[-1]),
    "or": lambda *values: next((value for value in values[:-1] if value), values[-1]),
    "not": lambda value: not value,
    "len": len,
    "index": _indexed,
    "slice": _sliced,
}
