"""Proof of a vocabulary by behaviour: llama.cpp's ids of the probes, from the very metadata, equal the tokenizer's own.

The metadata goes to a GGUF file without tensors; a child process opens it in llama.cpp.
"""

import hashlib
import json
import struct
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ... import Error, child
from .. import llama_vocabulary
from . import probes
from .departures import asked
from .pre_tokenizers import parts
from .vocabulary import PRE_KEY, TokenizerFiles, Vocabulary, entries

_SHOWN = 24  # ids shown of a text that is cut otherwise
_BOUNDED = ("", "Hello world", " x")  # texts that are also encoded with what begins and ends them
_LAYOUT = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}  # ggml's docs/gguf.md; integers in arrays are signed
_STRING, _ARRAY, _UINT8, _INT32 = 8, 9, 0, 5

_settled: dict[str, list[str | None]] = {}  # by content: several formats of a run share what was proven


def prove(variants: Iterable[Vocabulary], *, n_tokens: int, name: str) -> Vocabulary:
    """The first variant that cuts every probe as its `files` do; `Error` with the first difference of the likeliest.

    `name` is the model's, by which llama.cpp treats some tokens.
    """
    found = ""
    remaining = iter(variants)
    likeliest = list(islice(remaining, 1))
    for batch in (likeliest, remaining):  # most often the first agrees: its child answers for it alone
        examined = list(batch)
        verdicts = _examine(examined, n_tokens, name)
        for variant, verdict in zip(examined, verdicts, strict=False):
            if verdict is None:
                return variant
        found = found or str(next(iter(verdicts), ""))
    raise Error(f"llama.cpp cuts text otherwise than the checkpoint's tokenizer: {found}", hint=_hint(likeliest[0]))


def _hint(likeliest: Vocabulary) -> str:
    assert likeliest.files is not None
    name = likeliest.pre if likeliest.model == "gpt2" else likeliest.model
    tried = f"no form that llama.cpp knows agrees; the likeliest is {name!r}"
    added = likeliest.files.tokenizer.get("added_tokens") or []
    strips = [row["content"] for row in added if row.get("lstrip") or row.get("rstrip")]
    if not strips:
        return tried
    return f"{tried}; {strips[0]!r} strips spaces around it, which llama.cpp does for names with phi-3 alone"


def _examine(variants: Sequence[Vocabulary], n_tokens: int, name: str) -> list[str | None]:
    """What llama.cpp cuts otherwise with each variant, None for nothing; it ends with the first that agrees."""
    if not variants:
        return []
    assert variants[0].files is not None
    files = variants[0].files
    tokenizer = files.path.read_bytes() if files.path else json.dumps(files.tokenizer).encode()
    headers = _headers(variants, n_tokens, name)
    first = next(headers)
    around = [files.before, files.after]
    key = hashlib.sha256(b"".join([first, tokenizer, repr((around, len(variants))).encode()])).hexdigest()
    if key not in _settled:
        special = [row["content"] for row in files.tokenizer.get("added_tokens") or []]
        departures = [variant.departure for variant in variants]
        job = {"texts": probe_texts(files), "around": around, "special": special, "departures": departures}
        _settled[key] = _ask(job, tokenizer, chain([first], headers))
    return _settled[key]


def _ask(job: Mapping[str, Any], tokenizer: bytes, headers: Iterable[bytes]) -> list[str | None]:
    """Let a child compare the files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tokenizer.json").write_bytes(tokenizer)
        for n, header in enumerate(headers):
            (folder / f"{n}.gguf").write_bytes(header)
        outcome = child.run(f"{__name__}:compare", {**job, "folder": scratch})
    if outcome.status != "ok":
        return [f"llama.cpp does not take the vocabulary: {outcome.note}"]
    verdicts: list[str | None] = outcome.value
    return verdicts


def _headers(variants: Sequence[Vocabulary], n_tokens: int, name: str) -> Iterator[bytes]:
    """The GGUF file of each; where only the pre-tokenizer's name differs, the bytes are not made again."""
    made: tuple[Vocabulary, bytes] | None = None
    for variant in variants:
        if made is not None and replace(variant, pre=made[0].pre) == made[0]:
            old, new = (_string(PRE_KEY) + _value(pre) for pre in (made[0].pre, variant.pre))
            yield made[1].replace(old, new, 1)
            continue
        says = {"general.architecture": "llama", "general.name": name, **dict(entries(variant, n_tokens))}
        made = variant, pack(says)
        yield made[1]


def probe_texts(files: TokenizerFiles) -> list[str]:
    """The corpus with the tokenizer's special tokens, composed where the tokenizer composes (NFC)."""
    added = [row["content"] for row in files.tokenizer.get("added_tokens") or []]
    named = [token for token in files.special_tokens.values() if token in added]
    texts = probes.texts(list(dict.fromkeys([*named, *added])))
    if "NFC" in [step["type"] for step in parts(files.tokenizer.get("normalizer"), "normalizers")]:
        texts = tuple(dict.fromkeys(unicodedata.normalize("NFC", text) for text in texts))
    return list(texts)


def compare(job: Mapping[str, Any]) -> list[str | None]:
    """The first text that is cut otherwise by each file `N.gguf` of a folder than by its tokenizer.json.

    It ends with the first file that agrees, for which the answer is None. `job["departures"]` says of each file where
    it may differ.
    """
    from tokenizers import Tokenizer

    folder, (before, after) = Path(job["folder"]), job["around"]
    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder.no_truncation()
    encoder.no_padding()
    theirs = [(text, encoder.encode(text, add_special_tokens=False).ids) for text in job["texts"]]
    bounded = [(text, [*before, *ids, *after]) for text, ids in theirs if text in _BOUNDED]
    verdicts: list[str | None] = []
    for n, departure in enumerate(job["departures"]):
        questions = {text: asked(departure, text, job["special"]) for text, _ in theirs}
        with llama_vocabulary.opened(str(folder / f"{n}.gguf")) as vocabulary:
            verdicts.append(_first_difference(vocabulary, theirs, bounded, questions))
        if verdicts[-1] is None:
            break
    return verdicts


Encoded = Sequence[tuple[str, Sequence[int]]]


def _first_difference(
    vocabulary: llama_vocabulary.LlamaVocabulary,
    theirs: Encoded,
    bounded: Encoded,
    questions: Mapping[str, str | None],
) -> str | None:
    """The first text that is cut otherwise than `theirs`, or than `bounded` with what begins and ends a text."""
    for expected, add_special in ((theirs, False), (bounded, True)):
        for text, ids in expected:
            question = questions[text]
            if question is None:
                continue
            ours = vocabulary.encode(question, add_special=add_special)
            if ours != ids:
                around = "with what begins and ends a text, " if add_special else ""
                return around + _said(text, ours, ids)
    return None


def _said(text: str, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """Both lists from shortly before where they part, with the text around that place as far as it is short."""
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
    start = max(0, at - _SHOWN // 2)
    shown = [list(ids[start : start + _SHOWN]) for ids in (ours, theirs)]
    where = f" from token {start}" if start else ""
    return f"{text[:80]!r}{where}: {shown[0]} instead of {shown[1]}"


def pack(entries: Mapping[str, Any]) -> bytes:
    """A GGUF file of metadata alone: str, bool, int, bytes, and lists of str, int (32 bits) or float (32 bits)."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    return header + b"".join(_string(key) + _value(value) for key, value in entries.items())


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if type(value) in _LAYOUT:
        kind, layout = _LAYOUT[type(value)]
        return struct.pack("<I", kind) + struct.pack(layout, value)
    head = struct.pack("<I", _ARRAY)
    if isinstance(value, bytes):
        return head + struct.pack("<IQ", _UINT8, len(value)) + value
    if isinstance(value[0], str):
        return head + struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_string, value))
    kind, letter = (_INT32, "i") if isinstance(value[0], int) else (_LAYOUT[float][0], "f")
    return head + struct.pack(f"<IQ{len(value)}{letter}", kind, len(value), *value)
