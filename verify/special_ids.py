"""The special tokens' part of the gate: BOS, EOS, EOT and pad, and how often BOS and EOS are added to a text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..convert import llama_vocabulary
from ..convert.vocabulary.tokenizer import Tokenizer
from . import by_transformers, stored, tokens
from .finding import FAILED, PASSED, WARNING, Finding
from .stored import Stored

_TEXTS = ("Hello world", "1 2 3", "x")
_ENCODE = Callable[[str], list[int]]


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the artifact `job["path"]` of `job["container"]` with the files in `job["folder"]`: a finding.

    `job["end"]` is what the checkpoint's template writes behind an answer. Behind the fence.
    """
    folder, path = Path(job["folder"]), Path(job["path"])
    expected, with_special = _as_transformers_has_it(folder)
    if job["container"] == "onnx":
        ours, with_ours = _as_transformers_has_it(path)
        rules = [*_same_ids(expected, ours.ids, ours.ids), *_same_ends(expected, ours.end_ids)]
        return _judge([*rules, *_added(with_special, with_ours)], "").to_json()
    end = _end_of_turn(job["end"], folder)
    with llama_vocabulary.opened(job["path"]) as vocabulary:
        said = stored.of_gguf(path).ids
        rules = [*_same_ids(expected, vocabulary.special_ids(), said)]
        rules += _stops(expected, end, said, vocabulary.ends_generation)
        rules += _added(with_special, lambda text: vocabulary.encode(text, add_special=True))
        others = [index for index in sorted(expected.end_ids) if not vocabulary.ends_generation(index)]
        unstopped = [f"{index} ({tokens.shown(vocabulary.decode([index]))})" for index in others]
        return _judge(rules, _unstopped(unstopped)).to_json()


def _as_transformers_has_it(folder: Path) -> tuple[Stored, _ENCODE]:
    """What a folder says of its special tokens, and its tokenizer with what it adds to a text.

    Classes of transformers have special tokens of their own, and go by `add_bos_token` where tokenizer.json says
    otherwise: where transformers is missing, the project's own reading of their rules has to do.
    """
    found = by_transformers.load(folder)
    said = by_transformers.said_by(folder, found)
    if found is not None:
        return said, lambda text: list(found(text, add_special_tokens=True)["input_ids"])
    own = Tokenizer(folder)
    return said, lambda text: [*own.files.before, *own.encode(text), *own.files.after]


def _judge(rules: Sequence[str], warning: str) -> Finding:
    """`rules`: what is wrong with each, "" where it holds."""
    wrong = [said for said in rules if said]
    samples = tuple(float(not said) for said in rules)
    if wrong:
        return Finding(verdict=FAILED, said="; ".join(wrong), samples=samples)
    said = "BOS, EOS, pad, what ends an answer, and what is added to a text"
    return Finding(verdict=WARNING if warning else PASSED, said=warning or said, samples=samples)


def _same_ids(expected: Stored, ours: Mapping[str, int], said: Mapping[str, int]) -> Iterator[str]:
    """`said` is what the artifact states itself, `ours` what its runtime goes by, which may have defaults.

    An id that only config.json names may be left out, and must be right where it is stated.
    """
    for name in ("bos", "eos", "pad"):
        if name in expected.ids:
            right, found = expected.ids[name], ours.get(name)
            yield "" if found == right else f"{name.upper()} is {_shown(found)} instead of {right}"
        elif name in said:
            only = expected.model_ids.get(name)
            known = {only, *(expected.end_ids if name == "eos" else ())}
            yield "" if said[name] in known else f"{name.upper()} is {said[name]}, the checkpoint has {_shown(only)}"
        else:
            yield ""


def _shown(index: int | None) -> str:
    return "none" if index is None else str(index)


def _same_ends(expected: Stored, ours: frozenset[int]) -> Iterator[str]:
    same = ours == expected.end_ids
    yield "" if same else f"answers end at {sorted(ours)} instead of {sorted(expected.end_ids)}"


def _stops(
    expected: Stored, end: int | None, said: Mapping[str, int], ends_generation: Callable[[int], bool]
) -> Iterator[str]:
    """EOS and the token that the template writes behind an answer must stop llama.cpp; a stated EOT must be one."""
    for name, index in (("EOS", expected.ids.get("eos")), ("the token behind an answer", end)):
        if index is not None:
            yield "" if ends_generation(index) else f"{name}, {index}, does not end generation in llama.cpp"
    if "eot" in said:
        known = {*expected.end_ids, *([end] if end is not None else [])}
        yield "" if said["eot"] in known else f"EOT is {said['eot']} instead of {' or '.join(map(str, sorted(known)))}"


def _unstopped(others: Sequence[str]) -> str:
    if not others:
        return ""
    return f"the checkpoint also ends answers at {', '.join(others)}, llama.cpp's programs do not"


def _end_of_turn(text: str, folder: Path) -> int | None:
    """The id of the special token that begins `text`, spaces left out; None for another beginning."""
    added = tokens.added_tokens(folder)
    fitting = [token for token in added if text.lstrip().startswith(token)]
    return added[max(fitting, key=len)] if fitting else None


def _added(expected: _ENCODE, ours: _ENCODE) -> Iterator[str]:
    for text in _TEXTS:
        a, b = expected(text), ours(text)
        yield "" if a == b else f"{text!r} with special tokens is {b} instead of {a}"
