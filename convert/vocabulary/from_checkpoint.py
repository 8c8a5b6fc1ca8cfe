"""A checkpoint's tokenizer.json as the vocabulary that a GGUF carries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import Error
from ..checkpoint import Checkpoint
from .from_gguf import (
    BYTE,
    CONTROL,
    NORMAL,
    PRE_TOKENIZERS,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    PreTokenizer,
    Vocabulary,
)
from .tokenizer import TokenizerFiles, read_files

if TYPE_CHECKING:
    from gguf import GGUFWriter

_UNREACHABLE = -1e9  # score of a piece that no merge makes


def write_vocabulary(vocabulary: Vocabulary, writer: "GGUFWriter", *, n_tokens: int) -> None:
    """Write the metadata, with unused tokens up to the `n_tokens` rows of the embedding."""
    n_known = len(vocabulary.tokens)
    n_padding = n_tokens - n_known
    if n_padding < 0:
        raise Error(f"the tokenizer has {n_known} tokens, the embedding {n_tokens} rows")
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list([*vocabulary.tokens, *(f"[PAD{n_known + i}]" for i in range(n_padding))])
    writer.add_token_types([*vocabulary.types, *[UNUSED] * n_padding])
    if vocabulary.model == "gpt2":
        writer.add_token_merges(list(vocabulary.merges))
    else:
        writer.add_token_scores([*vocabulary.scores, *[_UNREACHABLE] * n_padding])
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
    writers = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for name, index in vocabulary.special.items():
        writers[name](index)
    writer.add_add_bos_token(vocabulary.add_bos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """Read tokenizer.json and its configuration; `Error` for a kind of tokenizer that GGUF cannot carry faithfully."""
    files = read_files(checkpoint.path)
    model = files.tokenizer["model"]
    if model.get("type") != "BPE":
        raise Error(f"tokenizers of type {model.get('type')} are not supported", hint="supported: BPE")
    tokens, types = _tokens(files)
    sentencepiece = bool(model.get("byte_fallback"))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        pre="default" if sentencepiece else recognise(files.tokenizer),
        tokens=tokens,
        types=types,
        merges=() if sentencepiece else merges,
        scores=_scores(tokens, merges) if sentencepiece else (),
        special=files.special_ids,
        add_bos=files.adds_bos,
        add_eos=False,
        add_space_prefix=_prepends_space(files.tokenizer),
        chat_template=files.chat_template,
    )


def _tokens(files: TokenizerFiles) -> tuple[list[str], list[int]]:
    """Tokens by id and their types; an id that the tokenizer leaves out is an unused token."""
    model, added = files.tokenizer["model"], files.tokenizer.get("added_tokens", [])
    kinds = {row["id"]: (row["content"], CONTROL if row["special"] else USER_DEFINED) for row in added}
    by_id: dict[int, tuple[str, int]] = {index: (token, NORMAL) for token, index in model["vocab"].items()}
    if model.get("byte_fallback"):
        by_id |= {index: (token, BYTE) for index, (token, _) in by_id.items() if _is_byte(token)}
    by_id |= kinds
    unknown = model["vocab"].get(model.get("unk_token") or "", -1)
    if model.get("byte_fallback") and unknown >= 0:
        by_id[unknown] = (by_id[unknown][0], UNKNOWN)
    rows = [by_id.get(index, (f"[PAD{index}]", UNUSED)) for index in range(max(by_id) + 1)]
    return [token for token, _ in rows], [kind for _, kind in rows]


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """SentencePiece merges the pair whose result scores best: the first merge that makes a token ranks it."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    return [-float(ranks[token]) if token in ranks else _UNREACHABLE for token in tokens]


def _parts(step: Any, children: str) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as a flat list of steps."""
    if not step:
        return []
    return [part for child in step[children] for part in _parts(child, children)] if children in step else [step]


def _prepends_space(tokenizer: Mapping[str, Any]) -> bool:
    steps = _parts(tokenizer.get("normalizer"), "normalizers") + _parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return any(
        (step["type"] == "Prepend" and step.get("prepend") == SPACE)
        or (step["type"] == "Metaspace" and _scheme(step) != "never")
        for step in steps
    )


def _scheme(metaspace: Mapping[str, Any]) -> str:
    """When a space is put before a text; files from before tokenizers 0.14 have a boolean instead."""
    older = "always" if metaspace.get("add_prefix_space", True) else "never"
    return str(metaspace.get("prepend_scheme", older))


def recognise(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of the pre-tokenizer that a byte-level tokenizer.json defines; `Error` where it has none."""
    defined = _definition(tokenizer)
    for name, row in PRE_TOKENIZERS.items():
        if replace(row, add_bos=False) == defined:
            return name
    raise Error(
        "the tokenizer cuts text in a way that no pre-tokenizer known here does",
        hint=f"known: {', '.join(PRE_TOKENIZERS)}; its definition: {defined}",
    )


def _definition(tokenizer: Mapping[str, Any]) -> PreTokenizer:
    """What tokenizer.json says, in the terms of the table; `Error` names a step that the table has no word for."""
    splits, gpt2, single_digits = [], False, False
    for step in _parts(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            splits.append(step["pattern"].get("Regex", ""))
        elif step["type"] == "Digits" and step.get("individual_digits"):
            single_digits = True
        elif step["type"] == "ByteLevel" and not step.get("add_prefix_space"):
            gpt2 = bool(step.get("use_regex", True))
        else:
            raise Error(f"the tokenizer's step {step} is not supported")
    normalizers = [step["type"] for step in _parts(tokenizer.get("normalizer"), "normalizers")]
    if normalizers not in ([], ["NFC"]):
        raise Error(f"the tokenizer's normalizers {normalizers} are not supported")
    return PreTokenizer(
        splits=tuple(splits),
        gpt2=gpt2,
        single_digits=single_digits,
        nfc=bool(normalizers),
        ignore_merges=bool(tokenizer["model"].get("ignore_merges")),
    )
