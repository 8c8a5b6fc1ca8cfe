"""The vocabularies that a checkpoint's tokenizer may be in llama.cpp's terms, the likeliest first."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from ... import Error
from .pre_tokenizers import PRE_TOKENIZERS, PreTokenizer, candidates, definition, parts
from .vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNREACHABLE,
    UNUSED,
    USER_DEFINED,
    TokenizerFiles,
    Vocabulary,
)

#: what llama.cpp takes for a control token by its text alone (src/llama-vocab.cpp), whatever type the file gives it.
#: Qwen's vocabularies hold an ordinary </s> that their own tokenizer never makes: it is written as an unused token,
#: so that the text stays text and does not end an answer.
_CONTROL_WORDS = (
    "<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT> [EOT] [EOS] "
    "<｜end▁of▁sentence｜> <end_of_utterance> <|eom_id|> <|return|> <|call|> <|flush|> <|calls|> </s> <eos> <turn|> "
    "<|tool_response> [e~[ <|channel|> <|message|> <|start|> <|constrain|> "
    "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|> "
    "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|> "
    "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|> "
    "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> "
    "<|file_sep|>"
)
_TAKEN_FOR_CONTROL = frozenset(_CONTROL_WORDS.split())


def variants(files: TokenizerFiles) -> Iterator[Vocabulary]:
    """Each vocabulary to try; `Error` for a kind of tokenizer that llama.cpp has no word for."""
    model = files.tokenizer["model"]
    kind = model.get("type") or _untyped(model)
    if kind == "Unigram":
        return _unigram(files)
    if kind != "BPE":
        raise Error(f"tokenizers of type {kind} are not supported", hint="supported: BPE, Unigram")
    return _sentencepiece(files) if _is_sentencepiece(files.tokenizer) else _byte_level(files)


def _untyped(model: Mapping[str, Any]) -> str:
    """The type in files from before tokenizers wrote it."""
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "BPE" if "merges" in model else "None"


def _is_sentencepiece(tokenizer: Mapping[str, Any]) -> bool:
    """Whether pieces are text with a mark for spaces, not bytes as characters."""
    steps = parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return bool(tokenizer["model"].get("byte_fallback")) and all(step["type"] != "ByteLevel" for step in steps)


def _plain(files: TokenizerFiles, model: str) -> Vocabulary:
    """What every kind says in the same way."""
    _check_around(files)
    tokens, types = _tokens(files)
    return Vocabulary(
        model=model,
        pre="default",
        tokens=tokens,
        types=types,
        merges=(),
        scores=(),
        special=files.special_ids,
        add_bos=bool(files.before),
        add_eos=bool(files.after),
        add_space_prefix=False,
        chat_template=files.chat_template,
        chat_templates=files.chat_templates,
        files=files,
    )


def _check_around(files: TokenizerFiles) -> None:
    """llama.cpp adds one BOS and one EOS at most."""
    eos = files.special_ids.get("eos")
    if len(files.before) > 1 or len(files.after) > 1 or (files.after and files.after[0] != eos):
        raise Error(
            f"the tokenizer puts the tokens {list(files.before)} before and {list(files.after)} after a text",
            hint="llama.cpp adds one BOS before and one EOS after it at most",
        )


def _byte_level(files: TokenizerFiles) -> Iterator[Vocabulary]:
    merges = _merges(files)
    plain = replace(_plain(files, "gpt2"), merges=merges)
    try:
        defined: PreTokenizer | None = definition(files.tokenizer)
    except Error:
        defined = None
    for name in candidates(defined):
        yield replace(plain, pre=name, departure=PRE_TOKENIZERS[name].departure)


def _merges(files: TokenizerFiles) -> list[str]:
    """Pairs with a space between them; a piece that holds a space cannot be told from two."""
    merges = files.tokenizer["model"]["merges"]
    return [m if isinstance(m, str) else " ".join(m) for m in merges]


def _sentencepiece(files: TokenizerFiles) -> Iterator[Vocabulary]:
    """By scores as SentencePiece has them, or by the ranks of merges as in llama.cpp's "gemma4"."""
    plain = replace(_plain(files, "llama"), add_space_prefix=prepends_space(files.tokenizer))
    merges = _merges(files)
    scores = list(files.scores) or _scores(plain.tokens, merges)
    yield replace(plain, scores=scores)
    spaced = [t.replace(SPACE, " ") if k == USER_DEFINED else t for t, k in zip(plain.tokens, plain.types, strict=True)]
    if spaced != plain.tokens:
        yield replace(plain, scores=scores, tokens=spaced)
    scheme = _metaspace(files.tokenizer)
    if scheme == "always":
        yield replace(plain, scores=scores, departure="spaced")
    if scheme == "first":  # in a conversation every text follows a special token: there nothing departs
        bare = bool(files.chat_template)
        departure = "bare" if bare else "spaced after special tokens"
        yield replace(plain, scores=scores, add_space_prefix=not bare, departure=departure)
    if plain.add_bos and not plain.add_space_prefix and not any(" " in token for token in plain.tokens):
        yield replace(plain, model="gemma4", pre="gemma4", merges=merges)


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """SentencePiece merges the pair whose result scores best: the first merge that makes a token ranks it."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    return [-float(ranks[token]) if token in ranks else UNREACHABLE for token in tokens]


def _unigram(files: TokenizerFiles) -> Iterator[Vocabulary]:
    model = files.tokenizer["model"]
    unknown = model.get("unk_id")
    special = {**files.special_ids, **({"unk": unknown} if unknown is not None else {})}
    by_id = dict(enumerate(model["vocab"]))
    normalizers = parts(files.tokenizer.get("normalizer"), "normalizers")
    compiled = next((step["precompiled_charsmap"] for step in normalizers if step["type"] == "Precompiled"), "")
    plain = replace(_plain(files, "t5"), special=special, charsmap=base64.b64decode(compiled or ""))
    plain = replace(plain, scores=[by_id[i][1] if i in by_id else UNREACHABLE for i in range(len(plain.tokens))])
    merged = any(step["type"] in ("Replace", "Strip") for step in normalizers)
    prefix = prepends_space(files.tokenizer)
    for merges_spaces, prefixed in product((merged, not merged), (prefix, not prefix)):
        yield replace(plain, remove_extra_whitespaces=merges_spaces, add_space_prefix=prefixed)


def prepends_space(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    steps = parts(tokenizer.get("normalizer"), "normalizers") + parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return any(
        (step["type"] == "Prepend" and step.get("prepend") == SPACE)
        or (step["type"] == "Metaspace" and _scheme(step) != "never")
        for step in steps
    )


def _metaspace(tokenizer: Mapping[str, Any]) -> str:
    """When a Metaspace puts a space before a text; "" where there is none."""
    steps = parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return next((_scheme(step) for step in steps if step["type"] == "Metaspace"), "")


def _scheme(metaspace: Mapping[str, Any]) -> str:
    """When a space is put before a text; files from before tokenizers 0.14 have a boolean instead."""
    older = "always" if metaspace.get("add_prefix_space", True) else "never"
    return str(metaspace.get("prepend_scheme", older))


def _tokens(files: TokenizerFiles) -> tuple[list[str], list[int]]:
    """Tokens by id and their types; an id that the tokenizer leaves out is an unused token."""
    model, added = files.tokenizer["model"], files.tokenizer.get("added_tokens") or []
    vocab = model["vocab"]
    numbered = enumerate(row[0] for row in vocab) if isinstance(vocab, list) else ((i, t) for t, i in vocab.items())
    falls_back = bool(model.get("byte_fallback"))
    by_id = {index: (token, BYTE if falls_back and _is_byte(token) else NORMAL) for index, token in numbered}
    unknown = model.get("unk_id") if isinstance(vocab, list) else vocab.get(model.get("unk_token") or "")
    by_id |= {row["id"]: (row["content"], CONTROL if row["special"] else USER_DEFINED) for row in added}
    if unknown is not None and (falls_back or isinstance(vocab, list)):
        by_id[unknown] = (by_id[unknown][0], UNKNOWN)
    _check_unique(by_id)
    taken = {token for token, _ in by_id.values()}
    by_id = {
        i: (f"[UNUSED{i}]", UNUSED) if k == NORMAL and t in _TAKEN_FOR_CONTROL else (t, k)
        for i, (t, k) in by_id.items()
    }
    rows = [by_id.get(index) or (_unused(index, taken), UNUSED) for index in range(max(by_id) + 1)]
    return [token for token, _ in rows], [kind for _, kind in rows]


def _unused(index: int, taken: set[str]) -> str:
    name = f"[PAD{index}]"
    return name if name not in taken else f"[UNUSED{index}]"


def _check_unique(by_id: Mapping[int, tuple[str, int]]) -> None:
    """llama.cpp aborts on two tokens of the same text."""
    first: dict[str, int] = {}
    for index, (token, _) in sorted(by_id.items()):
        other = first.setdefault(token, index)
        if other != index:
            raise Error(
                f"the tokenizer has the token {token!r} twice, as {other} and {index}",
                hint="llama.cpp takes no duplicates: take one of them out of added_tokens in tokenizer.json",
            )


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")
