"""The tokenizer's part of the gate: the same ids for every string of the corpus, and the same text from them."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..convert import llama_vocabulary
from ..convert.gguf_header import read_header
from ..convert.vocabulary import departures, probes
from ..convert.vocabulary.tokenizer import Tokenizer, read_files
from . import by_transformers
from .finding import FAILED, PASSED, WARNING, Finding

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Encoder


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the artifact `job["path"]` of `job["container"]` with the tokenizer in `job["folder"]`: a finding.

    llama.cpp aborts the process on a vocabulary that it cannot work with: behind the fence.
    """
    theirs, added = _Files(Path(job["folder"])), tuple(added_tokens(Path(job["folder"])))
    texts = probes.texts(added)
    if job["container"] == "onnx":
        ours = _Files(Path(job["path"]))
        return _judge(texts, theirs, ours.encode, lambda ids: (ours.decode(ids),)).to_json()
    departure = departures.stated(read_header(Path(job["path"])).metadata)
    asked = {text: departures.asked(departure, text, added) for text in texts}
    with llama_vocabulary.opened(job["path"]) as vocabulary:

        def decode(ids: Sequence[int]) -> tuple[str, ...]:
            return (vocabulary.decode(ids), vocabulary.pieces(ids))

        def encode(text: str) -> list[int]:
            return vocabulary.encode(asked.get(text) or text)

        finding = _judge([text for text in texts if asked[text] is not None], theirs, encode, decode)
    n_excused = sum(question != text for text, question in asked.items())
    return _with_departure(finding, departure, n_excused).to_json()


def _with_departure(finding: Finding, departure: str, n_excused: int) -> Finding:
    """What llama.cpp cannot follow is stated in the file; it is no failure, and no tick either."""
    if not n_excused or finding.verdict == FAILED:
        return finding
    words = departures.DEPARTURES[departure]
    said = f"{n_excused} strings left out, for which the file says: {words}; {finding.said}"
    return Finding(verdict=WARNING, said=said, samples=finding.samples)


def added_tokens(folder: Path) -> dict[str, int]:
    """The added tokens of a folder's tokenizer, those that it calls special and the others, and their ids."""
    return {str(row["content"]): row["id"] for row in read_files(folder).tokenizer.get("added_tokens") or []}


class _Files:
    """The tokenizer of a folder, decoding without leaving anything out.

    tokenizer.json is what the tokenizers library makes of it. Older files are transformers' to read; where it does
    not, the project's own reading is all there is, and `read_by` says so.
    """

    def __init__(self, folder: Path) -> None:
        older = not (folder / "tokenizer.json").is_file()
        found = getattr(by_transformers.load(folder), "backend_tokenizer", None) if older else None
        self._encoder: Encoder = found or Tokenizer(folder).encoder
        self.read_by = "the checkpoint's as the project itself reads its files" if older and not found else ""
        normalizer = self._encoder.normalizer
        self.composes = normalizer is not None and normalizer.normalize_str("e\u0301") == "\u00e9"

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._encoder.decode(list(ids), skip_special_tokens=False)
        return text


def _judge(
    texts: Sequence[str],
    theirs: _Files,
    encode: Callable[[str], list[int]],
    decode: Callable[[Sequence[int]], tuple[str, ...]],
) -> Finding:
    """`decode` gives every way in which the runtime turns ids into text; one that is right is enough."""
    differences: list[str] = []
    samples: list[float] = []
    n_composed = 0
    for text in texts:
        said, composed = _difference(text, theirs, encode, decode)
        n_composed += composed
        samples.append(float(not said))
        differences += [said] if said else []
    if differences:
        others = f" ({len(differences) - 1} more differ)" if len(differences) > 1 else ""
        return Finding(verdict=FAILED, said=differences[0] + others, samples=tuple(samples))
    said = f"{len(texts)} strings, the same ids and back to the same text"
    said += f" ({theirs.read_by})" if theirs.read_by else ""
    # llama.cpp leaves composing letters and marks (NFC) to its caller
    said += f" ({n_composed} once composed to NFC, which llama.cpp leaves to the caller)" if n_composed else ""
    return Finding(verdict=PASSED, said=said, samples=tuple(samples))


def _difference(
    text: str, theirs: _Files, encode: Callable[[str], list[int]], decode: Callable[[Sequence[int]], tuple[str, ...]]
) -> tuple[str, bool]:
    """What differs, "" for nothing; and whether the text had to be composed first."""
    expected, ids, composed = theirs.encode(text), encode(text), False
    if ids != expected and theirs.composes:
        ids, composed = encode(unicodedata.normalize("NFC", text)), True
    if ids != expected:
        return f"{shown(text)}: {_around(ids, expected)}", composed
    back = theirs.decode(expected)
    if back not in (decoded := decode(ids)):
        return f"{shown(text)} comes back as {shown(decoded[0])} instead of {shown(back)}", composed
    return "", composed


def _around(ids: Sequence[int], expected: Sequence[int]) -> str:
    """The ids where they part, with two before and four from there on."""
    at = parting(ids, expected)
    where = f" from token {at} on" if at > 2 else ""
    start = at - 2 if at > 2 else 0
    return f"{_listed(ids[start : at + 4])} instead of {_listed(expected[start : at + 4])}{where}"


def parting(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Where two sequences begin to differ."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _listed(ids: Sequence[int]) -> str:
    return f"[{' '.join(map(str, ids))}]"


def shown(text: str, *, limit: int = 60) -> str:
    """A text as people can read it in one line: quoted, escaped, and cut where it is long."""
    quoted = ascii(text) if any(_invisible(text)) else repr(text)
    return quoted if len(quoted) <= limit else f"{quoted[:limit]}...{quoted[0]}"


def _invisible(text: str) -> Iterator[bool]:
    return (unicodedata.category(character) in ("Cf", "Mn", "Zs") and character != " " for character in text)
