"""A tokenizer from the vocabulary that a GGUF carries: tokens, types, merges or scores, and a pre-tokenizer's name."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import Error
from .pre_tokenizers import PRE_TOKENIZERS as PRE_TOKENIZERS
from .pre_tokenizers import Step
from .special import NAMES
from .vocabulary import CONTROL, NORMAL, SPACE, SPECIAL_KEYS, UNKNOWN, USER_DEFINED
from .vocabulary import Vocabulary as Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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
    add_bos = get("add_bos_token")
    return Vocabulary(
        model=model,
        pre=pre,
        tokens=tokens,
        types=get("token_type") or [NORMAL] * len(tokens),
        merges=get("merges") or (),
        scores=get("scores") or (),
        special={name: fields[key] for name, key in SPECIAL_KEYS.items() if 0 <= fields.get(key, -1) < len(tokens)},
        add_bos=(model == "llama" or PRE_TOKENIZERS[pre].add_bos) if add_bos is None else add_bos,
        add_eos=bool(get("add_eos_token")),
        add_space_prefix=get("add_space_prefix") is not False,
        chat_template=metadata.get("tokenizer.chat_template"),
        chat_templates={name: metadata[f"tokenizer.chat_template.{name}"] for name in _named(metadata)},
    )


def _named(metadata: Mapping[str, Any]) -> list[str]:
    names = metadata.get("tokenizer.chat_templates") or []
    return [name for name in names if isinstance(metadata.get(f"tokenizer.chat_template.{name}"), str)]


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
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    row = PRE_TOKENIZERS[vocabulary.pre]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocabulary.merges)]
    steps = [_step(step) for step in row.steps]
    if ("gpt2", "") not in row.steps:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer = Tokenizer(models.BPE(_ids(vocabulary), merges, ignore_merges=row.ignore_merges))
    if row.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    post: list[Any] = [processors.ByteLevel(trim_offsets=False), *_added_around(vocabulary)]
    tokenizer.post_processor = post[0] if len(post) == 1 else processors.Sequence(post)
    return tokenizer


def _step(step: Step) -> Any:
    from tokenizers import Regex, pre_tokenizers

    kind, expression = step
    if kind == "split":
        return pre_tokenizers.Split(Regex(expression), behavior="isolated")
    if kind == "punctuation":
        return pre_tokenizers.Punctuation("contiguous")
    if kind == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Digits(individual_digits=kind == "digits")


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
    """Every split of a token into two known ones, best score first, as SentencePiece merges by the result's score.

    Of the splits of one token the longest left half comes first, as in transformers' `generate_merges`: then a run of
    spaces merges from the left, as SentencePiece does it.
    """
    tokens, ids = vocabulary.tokens, _ids(vocabulary)
    ranked: list[tuple[float, int, int, int]] = []
    for token, score, kind in zip(tokens, vocabulary.scores, vocabulary.types, strict=True):
        if kind in (NORMAL, USER_DEFINED):
            ranked.extend((-score, -len(tokens[left]), left, right) for left, right in _splits(token, ids))
    return [(tokens[left], tokens[right]) for _, _, left, right in sorted(ranked)]


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
    config |= {
        f"{name}_token": vocabulary.tokens[vocabulary.special[name]] for name in NAMES if name in vocabulary.special
    }
    if vocabulary.chat_templates:
        named = {
            **({"default": vocabulary.chat_template} if vocabulary.chat_template else {}),
            **vocabulary.chat_templates,
        }
        config["chat_template"] = [{"name": name, "template": text} for name, text in named.items()]
    elif vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    return vocabulary
