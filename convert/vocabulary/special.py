"""Which tokens begin and end a text, a turn and an answer, as transformers' AutoTokenizer decides it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAMES = ("bos", "eos", "unk", "pad", "sep", "mask")

#: classes that write their own rule for BOS and EOS over the one in tokenizer.json -> whether BOS is added where
#: the configuration says nothing. Source: `update_post_processor` of transformers 4.57's fast tokenizers
_OWN_RULE = {
    "LlamaTokenizer": True,
    "CodeLlamaTokenizer": True,
    "GemmaTokenizer": True,
    "CohereTokenizer": True,
    "GPTNeoXTokenizer": False,
}
#: classes that let flags of the configuration, where given, decide over tokenizer.json (transformers 5)
_FLAGS_DECIDE = ("TokenizersBackend", "")
#: model type -> class where tokenizer_config.json names none. Source: transformers' tokenization_auto
_CLASS_OF: Mapping[str, str] = {
    model: kind
    for kind, models in {
        "LlamaTokenizer": "llama mistral mixtral phi3",
        "GemmaTokenizer": "gemma gemma2 gemma3 gemma3_text",
        "GPTNeoXTokenizer": "gpt_neox stablelm olmo olmo2",
        "GPT2Tokenizer": "gpt2 gpt_bigcode starcoder2 granite",
        "Qwen2Tokenizer": "qwen2 qwen2_moe qwen3 qwen3_moe",
        "CodeGenTokenizer": "phi",
        "PreTrainedTokenizer": "smollm3 falcon",
    }.items()
    for model in models.split()
}
_END_OF_TEXT = "<|endoftext|>"
_ENDS = {"bos": _END_OF_TEXT, "eos": _END_OF_TEXT, "unk": _END_OF_TEXT}
#: special tokens of a class where no file names them
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "LlamaTokenizer": {"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
    "GemmaTokenizer": {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>"},
    "GPT2Tokenizer": _ENDS,
    "CodeGenTokenizer": _ENDS,
    "GPTNeoXTokenizer": _ENDS,
    "Qwen2Tokenizer": {"eos": _END_OF_TEXT, "unk": _END_OF_TEXT, "pad": _END_OF_TEXT},
}
#: what ends a turn of a conversation, the likeliest first; llama.cpp looks for the same words, in no fixed order
_TURN_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|return|>", "<|end_of_turn|>",
    "<end_of_utterance>", "<|end_of_role|>", "<EOT>", "[EOT]",
)  # fmt: skip


def tokenizer_class(config: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The class that AutoTokenizer takes, without "Fast"; "" where neither configuration says."""
    named = config.get("tokenizer_class") or model.get("tokenizer_class") or _CLASS_OF.get(model.get("model_type", ""))
    return str(named or "").removesuffix("Fast")


def content(token: Any) -> str:
    """A token of tokenizer_config.json: a string, or an object with its content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def named_tokens(config: Mapping[str, Any], kind: str) -> dict[str, str]:
    """bos, eos, ... -> the token's text, as far as the configuration or the class has one."""
    defaults = _DEFAULTS.get(kind, {})
    given = {name: content(config[key]) for name in NAMES if (key := f"{name}_token") in config}
    return {name: token for name, token in {**defaults, **given}.items() if token}


def around(
    config: Mapping[str, Any], kind: str, tokenizer: Mapping[str, Any], special: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """Ids that transformers puts before and after every text."""
    before, after = _processor(tokenizer)
    if kind in _OWN_RULE:
        flags = {"bos": config.get("add_bos_token", _OWN_RULE[kind]), "eos": config.get("add_eos_token", False)}
    elif kind in _FLAGS_DECIDE:
        flags = {name: config[key] for name in ("bos", "eos") if (key := f"add_{name}_token") in config}
    else:
        flags = {}
    if "bos" in flags:
        before = [special["bos"]] if flags["bos"] and "bos" in special else []
    if "eos" in flags:
        after = [special["eos"]] if flags["eos"] and "eos" in special else []
    return before, after


def _processor(tokenizer: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """What tokenizer.json's own post-processor adds."""
    processor = tokenizer.get("post_processor") or {}
    before: list[int] = []
    after: list[int] = []
    for step in processor.get("processors", [processor]):
        if step.get("type") == "TemplateProcessing":
            pieces = [_ids(step, piece) for piece in step["single"]]
            text = pieces.index(None)
            before = [i for piece in pieces[:text] for i in piece or ()] + before
            after = after + [i for piece in pieces[text:] for i in piece or ()]
        elif step.get("type") in ("RobertaProcessing", "BertProcessing"):
            before, after = [step["cls"][1], *before], [*after, step["sep"][1]]
    return before, after


def _ids(step: Mapping[str, Any], piece: Mapping[str, Any]) -> list[int] | None:
    """Ids of one piece of a template; None stands for the text."""
    if "SpecialToken" not in piece:
        return None
    return list(step["special_tokens"][piece["SpecialToken"]["id"]]["ids"])


def turn_end(added: Mapping[str, int], ends: Sequence[int], templates: Iterable[str]) -> int | None:
    """The token that ends a turn: a well-known one that generation ends with, or that a template writes."""
    known = [added[token] for token in _TURN_ENDS if token in added]
    generated = [index for index in known if index in ends]
    text = "\n".join(templates)
    written = [added[token] for token in _TURN_ENDS if token in added and token in text]
    return next(iter([*generated, *written]), None)
