"""Public items as token ids, split as lm-evaluation-harness splits them.

A context and its continuation are encoded together and cut where the context alone would end; spaces at a context's end
go to the continuation. BOS stands before them where the model's tokenizer puts it.
"""

from typing import Any

from ...convert.vocabulary.tokenizer import Tokenizer
from ...runtimes.session import n_shared
from .item import PublicItem
from .sets import SETS


def encode(item: PublicItem, tokenizer: Tokenizer) -> dict[str, Any]:
    """An item as a JSON-able row, all that scoring it needs.

    `metric` is the one by which formats are compared. What is scored by log-likelihood has `prompt`, the tokens that
    all its `choices` share, `choices`, the tokens after it, and `n_scored`, how many of each choice's last tokens
    count. What is generated has `prompt`, `max_tokens`, `end_ids` and `stops`; a dialogue has `turns` as texts, since
    the second follows an answer.
    """
    row: dict[str, Any] = {"id": item.id, "set": item.set, "kind": item.kind, "type": item.type}
    row |= {"subject": item.subject, "difficulty": item.difficulty, "metric": SETS[item.set].metric}
    if item.pairs:
        return row | _scored(item, tokenizer)
    row |= {"max_tokens": item.max_tokens, "stops": list(item.stops), "end_ids": list(tokenizer.files.end_ids)}
    if item.type == "dialogue":
        return row | {"turns": list(item.turns)}
    row["prompt"] = _encode(item.prompt, tokenizer)
    return row | ({"rules": list(item.rules)} if item.rules else {"answer": item.answer})


def _scored(item: PublicItem, tokenizer: Tokenizer) -> dict[str, Any]:
    contexts = {context: _encode(context.rstrip(), tokenizer) for context, _ in item.pairs}
    wholes = []
    for context, continuation in item.pairs:
        # Where the two would melt into one token at the cut, the harness keeps the context's own token.
        n = len(contexts[context])
        wholes.append(contexts[context] + _encode(context + continuation, tokenizer)[n:])
    first = next(iter(contexts.values()))
    shared = min(n_shared(first, ids) for ids in contexts.values())
    return {
        "prompt": first[:shared],
        "choices": [whole[shared:] for whole in wholes],
        "n_scored": [len(ids) - len(contexts[pair[0]]) for ids, pair in zip(wholes, item.pairs, strict=True)],
        "n_characters": list(item.n_characters),
        "right": item.right,
        "true": list(item.true),
    }


def _encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids with what begins every text exactly once."""
    ids, begin = tokenizer.encode(text), tokenizer.begin()
    return ids if ids[: len(begin)] == begin else [*begin, *ids]


def length(row: dict[str, Any]) -> int:
    """Tokens of context that a row needs; of a dialogue only what its answers take at most."""
    if "choices" in row:
        return len(row["prompt"]) + max(map(len, row["choices"]))
    return len(row.get("prompt", ())) + int(row["max_tokens"]) * max(1, len(row.get("turns", ())))
