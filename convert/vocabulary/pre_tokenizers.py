"""How text is cut before merging: llama.cpp's named pre-tokenizers and what a tokenizer.json says of the same cut.

One table serves both directions. Names and behaviour: llama.cpp's src/llama-vocab.cpp at the version that
llama-cpp-python 0.3.36 carries; definitions: tokenizer.json of published models of that name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ... import Error

Step = tuple[str, str]  # ("split", expression) | ("digits", "") | ("numbers", "") | ("punctuation", "") | ("gpt2", "")


@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """Steps applied one after another, then bytes as characters; an expression's matches are pieces of their own."""

    steps: tuple[Step, ...] = ()
    nfc: bool = False  # llama.cpp leaves it to the caller; models were trained with it
    ignore_merges: bool = False  # a piece that is a token stays whole
    add_bos: bool = False  # where the GGUF says nothing
    departure: str = ""  # a key of DEPARTURES


def _split(*expressions: str) -> tuple[Step, ...]:
    return tuple(("split", expression) for expression in expressions)


_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
_LLAMA3 = _SHORT + _WORD + r"\p{N}{1,3}|" + _TAIL
_QWEN2 = _SHORT + _WORD + r"\p{N}|" + _TAIL
_QWEN35 = _SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_CASED_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT4O = rf"{_CASED[0]}{_SHORT}?|{_CASED[1]}{_SHORT}?|\p{{N}}{{1,3}}|{_CASED_TAIL}"
_TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}|{_CASED_TAIL}"
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK_LETTERS = (  # escapes: characters that composition would change
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ"
    "-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-"
    "ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
_CJK = "[一-龥ࠀ-一가-퟿]+"
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
_JAIS2_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"

_GPT2_STEP: Step = ("gpt2", "")  # GPT-2's own expression, built into the byte-level step
_DIGITS: Step = ("digits", "")  # each digit alone
_NUMBERS: Step = ("numbers", "")  # runs of digits
_PLAIN = PreTokenizer(steps=(_GPT2_STEP,))
_SMOLLM = PreTokenizer(steps=(_DIGITS, _GPT2_STEP))
_LLAMA_BPE = PreTokenizer(steps=_split(_LLAMA3), ignore_merges=True, add_bos=True)

#: tokenizer.ggml.pre -> what tokenizer.json of the models of that name says
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "gpt-2": _PLAIN,
    "phi-2": _PLAIN,
    "jais": _PLAIN,
    "exaone4": _PLAIN,
    "trillion": _PLAIN,
    "granite-docling": _PLAIN,
    "mpt": replace(_PLAIN, nfc=True),  # GPT-NeoX's, Pythia's
    "olmo": replace(_PLAIN, nfc=True),
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "refact": _SMOLLM,  # Granite's too
    "codeshell": _SMOLLM,
    "exaone": _SMOLLM,
    "minerva-7b": _SMOLLM,
    "command-r": replace(_SMOLLM, nfc=True),
    "qwen2": PreTokenizer(steps=_split(_QWEN2), nfc=True),
    "stablelm2": PreTokenizer(steps=_split(_QWEN2)),
    "deepseek-r1-qwen": PreTokenizer(steps=_split(_QWEN2)),
    "megrez": PreTokenizer(steps=_split(_QWEN2)),
    "hunyuan": PreTokenizer(steps=_split(_QWEN2)),
    "qwen35": PreTokenizer(steps=_split(_QWEN35), nfc=True),
    "llama-bpe": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "falcon3": _LLAMA_BPE,
    "pixtral": _LLAMA_BPE,
    "lfm2": _LLAMA_BPE,
    "dbrx": PreTokenizer(steps=_split(_LLAMA3)),
    "smaug-bpe": PreTokenizer(steps=_split(_LLAMA3)),
    "chatglm-bpe": PreTokenizer(steps=_split(_LLAMA3)),
    "glm4": PreTokenizer(steps=_split(_LLAMA3), ignore_merges=True),
    "falcon": PreTokenizer(steps=(("punctuation", ""), _GPT2_STEP, _NUMBERS, *_split("[0-9][0-9][0-9]"))),
    "gpt-4o": PreTokenizer(steps=_split(_GPT4O), departure="letters"),
    "llama4": PreTokenizer(steps=_split(_GPT4O), departure="letters"),
    "tekken": PreTokenizer(steps=_split(_TEKKEN), ignore_merges=True, add_bos=True, departure="letters"),
    "deepseek-llm": PreTokenizer(
        steps=(
            *_split(r"[\r\n]", _DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CJK),
            _DIGITS,
        ),
        departure="digits",
    ),
    "deepseek-coder": PreTokenizer(
        steps=(*_split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK), _DIGITS), departure="spaces"
    ),
    "deepseek-v3": PreTokenizer(steps=_split(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)),
    "bloom": PreTokenizer(steps=_split(_BLOOM)),
    "gpt3-finnish": PreTokenizer(steps=_split(_BLOOM)),
    "poro-chat": PreTokenizer(steps=_split(_BLOOM)),
    "viking": PreTokenizer(steps=(*_split(_BLOOM), _DIGITS)),
    "jais-2": PreTokenizer(
        steps=_split(_SHORT + _WORD + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + _JAIS2_SPACES)
    ),
    "seed-coder": PreTokenizer(
        steps=_split(_SHORT + _WORD + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")
    ),
    "bailingmoe": PreTokenizer(
        steps=_split(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        )
    ),
    "superbpe": PreTokenizer(steps=_split(r"\p{N}+", r"(?=(\d{3})+(?!\d))"), departure="digits"),
    "minicpm5": PreTokenizer(steps=_split(r"\p{N}{1,3}", _SHORT + _WORD + r"\p{N}+|" + _TAIL), ignore_merges=True),
    "ufakzeka": PreTokenizer(steps=_split(_WORD[1:] + r"\p{N}|" + _TAIL)),
    # no model's own: what llama.cpp does with a file that names no pre-tokenizer
    "default": PreTokenizer(steps=_split(r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}


def parts(step: Any, children: str) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer of tokenizer.json as a flat list of steps."""
    if not step:
        return []
    return [part for child in step[children] for part in parts(child, children)] if children in step else [step]


def definition(tokenizer: Mapping[str, Any]) -> PreTokenizer:
    """What a byte-level tokenizer.json says, in the terms of the table; `Error` names a step it has no word for."""
    steps: list[Step] = []
    for step in parts(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        steps.extend(_step(step))
    normalizers = [step["type"] for step in parts(tokenizer.get("normalizer"), "normalizers")]
    if normalizers not in ([], ["NFC"]):
        raise Error(f"the tokenizer's normalizers {normalizers} are not supported")
    return PreTokenizer(
        steps=tuple(steps), nfc=bool(normalizers), ignore_merges=bool(tokenizer["model"].get("ignore_merges"))
    )


def _step(step: Mapping[str, Any]) -> list[Step]:
    if step["type"] == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        pattern = step["pattern"]
        return [("split", pattern["Regex"])] if "Regex" in pattern else [("text", pattern.get("String", ""))]
    if step["type"] == "Digits":
        return [_DIGITS if step.get("individual_digits") else _NUMBERS]
    if step["type"] == "Punctuation" and step.get("behavior") == "Contiguous":
        return [("punctuation", "")]
    if step["type"] == "ByteLevel" and not step.get("add_prefix_space"):
        return [_GPT2_STEP] if step.get("use_regex", True) else []
    raise Error(f"the tokenizer's step {step} is not supported")


def candidates(defined: PreTokenizer | None) -> Iterator[str]:
    """Names to try, the likeliest first: rows that say the same; without one, a name of every behaviour."""
    same: list[str] = []
    if defined is not None:
        rest = (defined.ignore_merges, defined.nfc)
        same = [name for name, row in PRE_TOKENIZERS.items() if row.steps == defined.steps]
        same.sort(key=lambda name: (PRE_TOKENIZERS[name].ignore_merges, PRE_TOKENIZERS[name].nfc) != rest)
    seen: set[tuple[tuple[Step, ...], bool]] = set()
    for name in same or PRE_TOKENIZERS:
        behaviour = (PRE_TOKENIZERS[name].steps, PRE_TOKENIZERS[name].ignore_merges)
        if behaviour not in seen:
            seen.add(behaviour)
            yield name
