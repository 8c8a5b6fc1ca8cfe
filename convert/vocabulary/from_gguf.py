"""A tokenizer from the vocabulary that a GGUF carries: tokens, types, merges or scores, and a pre-tokenizer's name."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import Error

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# llama.h, enum llama_token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"  # SentencePiece's mark for a space

_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _TAIL
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _TAIL


@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """How text is cut before merging: `splits` are regular expressions, applied one after another."""

    splits: tuple[str, ...] = ()
    gpt2: bool = False  # GPT-2's own expression, built into the byte-level step
    single_digits: bool = False
    nfc: bool = False
    ignore_merges: bool = False  # a piece that is a token stays whole
    add_bos: bool = False  # where the GGUF says nothing


_SMOLLM = PreTokenizer(gpt2=True, single_digits=True)
_LLAMA_BPE = PreTokenizer(splits=(_LLAMA3,), ignore_merges=True, add_bos=True)
#: tokenizer.ggml.pre -> what tokenizer.json of the models of that name says
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "gpt-2": PreTokenizer(gpt2=True),
    "phi-2": PreTokenizer(gpt2=True),
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "qwen2": PreTokenizer(splits=(_QWEN2,), nfc=True),  # llama.cpp leaves NFC out; the models were trained with it
    "deepseek-r1-qwen": PreTokenizer(splits=(_QWEN2,)),
    "llama-bpe": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    # no model's own: what llama.cpp does (src/llama-vocab.cpp) with a file that names no pre-tokenizer
    "default": PreTokenizer(splits=(r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens by id with llama.cpp's types, and how text becomes them: what a GGUF carries of a tokenizer."""

    model: str  # "gpt2" | "llama"
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    special: Mapping[str, int]  # "bos" | "eos" | "unk" | "pad" -> id
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    chat_template: str | None


def read(metadata: Mapping[str, Any]) -> Vocabulary:
    """Collect the keys `tokenizer.*` (ggml's docs/gguf.md); `Error` where one is missing or not supported."""
    fields: dict[str, Any] = {key.removeprefix("tokenizer.ggml."): value for key, value in metadata.items()}
    get = fields.get
    model, tokens = get("model"), get("tokens")
    if model not in ("gpt2", "llama") or not tokens:
        raise Error(f"the GGUF's tokenizer {model!r} is not supported", hint="supported: gpt2, llama")
    pre = get("pre") or "default"
    if model == "gpt2" and pre not in PRE_TOKENIZERS:
        raise Error(f"the GGUF's pre-tokenizer {pre!r} is not known", hint=f"known: {', '.join(PRE_TOKENIZERS)}")
    missing = "merges" if model == "gpt2" else "scores"
    if not get(missing):
        raise Error(f"the GGUF's tokenizer has no {missing}")
    for name in ("token_type", "scores"):
        if fields.get(name) and len(fields[name]) != len(tokens):
            raise Error(f"the GGUF's tokenizer has {len(tokens)} tokens and {len(fields[name])} entries in {name}")
    ids = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
    add_bos = get("add_bos_token")
    return Vocabulary(
        model=model,
        pre=pre,
        tokens=tokens,
        types=get("token_type") or [NORMAL] * len(tokens),
        merges=get("merges") or (),
        scores=get("scores") or (),
        special={name: fields[key] for name, key in ids.items() if 0 <= fields.get(key, -1) < len(tokens)},
        add_bos=(model == "llama" or PRE_TOKENIZERS[pre].add_bos) if add_bos is None else add_bos,
        add_eos=bool(get("add_eos_token")),
        add_space_prefix=get("add_space_prefix") is not False,
        chat_template=metadata.get("tokenizer.chat_template"),
    )


def build(vocabulary: Vocabulary) -> "Tokenizer":
    """The tokenizer, ready to be saved as tokenizer.json."""
    from tokenizers import AddedToken

    tokenizer = _byte_level(vocabulary) if vocabulary.model == "gpt2" else _sentencepiece(vocabulary)
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind in (UNKNOWN, CONTROL):
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])
    return tokenizer


def _byte_level(vocabulary: Vocabulary) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    row = PRE_TOKENIZERS[vocabulary.pre]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocabulary.merges)]
    steps: list[Any] = [pre_tokenizers.Split(Regex(split), behavior="isolated") for split in row.splits]
    if row.single_digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=row.gpt2))
    tokenizer = Tokenizer(models.BPE(_ids(vocabulary), merges, ignore_merges=row.ignore_merges))
    if row.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    post: list[Any] = [processors.ByteLevel(trim_offsets=False), *_added_around(vocabulary)]
    tokenizer.post_processor = post[0] if len(post) == 1 else processors.Sequence(post)
    return tokenizer


def _sentencepiece(vocabulary: Vocabulary) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers

    unknown = vocabulary.tokens[vocabulary.special.get("unk", 0)]
    model = models.BPE(_ids(vocabulary), _merges(vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    prefix = vocabulary.add_space_prefix
    before: list[Any] = [normalizers.Prepend(SPACE)] if prefix else []
    after: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    for processor in _added_around(vocabulary):
        tokenizer.post_processor = processor
    return tokenizer


def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: index for index, token in enumerate(vocabulary.tokens)}


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every split of a token into two known ones, best score first, as SentencePiece merges by the result's score."""
    ids = _ids(vocabulary)
    ranked: list[tuple[float, int, int]] = []
    for token, score, kind in zip(vocabulary.tokens, vocabulary.scores, vocabulary.types, strict=True):
        if kind in (NORMAL, USER_DEFINED):
            ranked.extend((-score, *halves) for halves in _splits(token, ids))
    return [(vocabulary.tokens[left], vocabulary.tokens[right]) for _, left, right in sorted(ranked)]


def _splits(token: str, ids: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    for middle in range(1, len(token)):
        left, right = ids.get(token[:middle]), ids.get(token[middle:])
        if left is not None and right is not None:
            yield left, right


def _added_around(vocabulary: Vocabulary) -> list[Any]:
    from tokenizers import processors

    special = vocabulary.special
    bos = [vocabulary.tokens[special["bos"]]] if vocabulary.add_bos and "bos" in special else []
    eos = [vocabulary.tokens[special["eos"]]] if vocabulary.add_eos and "eos" in special else []
    if not bos and not eos:
        return []
    first = [f"{piece}:0" for piece in (*bos, "$A", *eos)]
    second = [f"{piece}:1" for piece in (*bos, "$B", *eos)]
    ids = [(token, vocabulary.tokens.index(token)) for token in dict.fromkeys([*bos, *eos])]
    return [processors.TemplateProcessing(single=first, pair=first + second, special_tokens=ids)]


def save(metadata: Mapping[str, Any], folder: Path, *, context: int) -> Vocabulary:
    """Write tokenizer.json and tokenizer_config.json; `context` is the longest input in tokens."""
    vocabulary = read(metadata)
    build(vocabulary).save(str(folder / "tokenizer.json"), pretty=False)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    config |= {f"{name}_token": vocabulary.tokens[index] for name, index in vocabulary.special.items()}
    if vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    return vocabulary
