"""Text and items as token ids: made once a run by the checkpoint's own tokenizer and template, for every engine."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.atomic import write_text
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import n_shared
from . import items, suites
from .items import Item
from .public import encoding
from .public.item import PublicItem
from .subset import limited

WINDOW_TOKENS = 512  # what llama-perplexity takes by default
N_POSITIONS = 8_000  # at least so many are scored: the same work whatever the tokenizer makes of the text
_MAX_WINDOWS = 17  # of a small context there are not as many positions
UNSCORED_TOKENS = 32  # at the start of a window there is little to predict from
#: tokens of context after which the divergence is measured apart, and over how many positions
DEPTHS, DEPTH_POSITIONS = (512, 2048), 512
N_ANSWERS, ANSWER_TOKENS = 16, 64  # the reference's own greedy answers, which formats are to keep to
_METRICS = {"choice": "acc_norm", "short": "exact_match", "rules": "prompt_level_strict"}


def prepare(job: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenise the text `job["text"]` and the items that are asked, with the tokenizer in `job["folder"]`.

    Asked are the tasks `job["tasks"]`, written as `suites` describes, or where there are none the suite
    `job["suite"]`; of each at most `job["limit"]` items, all of them where it is missing or None.

    Writes `job["target"]`, which the measuring processes read. Returns n_tokens, n_items and n_left_out (items that
    are too long).
    Runs the checkpoint's chat template: behind the fence, with a deadline.
    """
    tokenizer = Tokenizer(Path(job["folder"]))
    tokens = tokenizer.encode(Path(job["text"]).read_text(encoding="utf-8"))
    size = min(WINDOW_TOKENS, job["context"])
    rows = [_encoded(item, tokenizer) for item in suites.read(_sources(job))]
    fitting = [row for row in rows if encoding.length(row) <= job["context"]]
    if not fitting:
        raise Error(f"no item fits the model's context of {job['context']} tokens")
    begin = tokenizer.begin()
    long = passage(tokens, context=passage_context(job), begin=begin)
    n_read = max(0, len(long.get("tokens", ())) - len(begin))
    n_scored = len(long.get("tokens", ())) - UNSCORED_TOKENS - 1 if long else 0
    cut = windows(tokens[n_read:], size=size, begin=begin, n_positions=N_POSITIONS - n_scored)
    if not cut:
        raise Error(f"a text of {len(tokens)} tokens in a context of {job['context']} is too short to be scored")
    prepared = {
        "folder": str(Path(job["folder"]).absolute()),
        "windows": cut,
        "passage": long,
        "asked": [row for row in _asked(tokenizer) if encoding.length(row) <= job["context"]],
        "items": fitting,
    }
    write_text(Path(job["target"]), json.dumps(prepared))
    n_tokens = n_read + sum(len(window) - len(begin) for window in cut)
    return {"n_tokens": n_tokens, "n_items": len(fitting), "n_left_out": len(rows) - len(fitting)}


def _sources(job: Mapping[str, Any]) -> list[suites.Source]:
    if job["tasks"]:
        return suites.resolve(job["tasks"], limit=job.get("limit"))
    return suites.suite(job["suite"], limit=job.get("limit"))


def _encoded(item: Item | PublicItem, tokenizer: Tokenizer) -> dict[str, Any]:
    return encoding.encode(item, tokenizer) if isinstance(item, PublicItem) else encode_item(item, tokenizer)


def _asked(tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
    """Prompts for greedy answers: the same built-in items in every run, of every kind that has answers in words."""
    written = [item for item in items.read(items.built_in()) if item.type != "choice"]
    for item in limited(written, N_ANSWERS, key=lambda item: item.id, stratum=lambda item: item.kind):
        yield {**encode_item(item, tokenizer), "max_tokens": ANSWER_TOKENS}


def passage_context(job: Mapping[str, Any]) -> int:
    """Tokens that the passage may take: what is scored after the last depth may stand beyond a context of that depth,
    where the model was trained for it (`job["longest_context"]`, which may be missing)."""
    context, longest = int(job["context"]), int(job.get("longest_context", 0))
    return max(context, min(longest, DEPTHS[-1] + DEPTH_POSITIONS + 1)) if context >= DEPTHS[-1] else context


def passage(tokens: Sequence[int], *, context: int, begin: Sequence[int]) -> dict[str, Any]:
    """The text's beginning in one piece, and the positions in it that count as after each of `DEPTHS` tokens.

    Depths that the context or the text does not hold are left out; {} where it holds none.
    """
    length = min(context, len(begin) + len(tokens))
    scored = {depth: [depth, depth + DEPTH_POSITIONS] for depth in DEPTHS if depth + DEPTH_POSITIONS < length}
    if not scored:
        return {}
    last = max(stop for _, stop in scored.values())
    return {"tokens": [*begin, *tokens][: last + 1], "scored": {str(depth): span for depth, span in scored.items()}}


def read_prepared(path: Path) -> dict[str, Any]:
    """What `prepare` wrote: "windows", "items", and "folder" of the tokenizer, which is taken as seen from the file."""
    prepared: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**prepared, "folder": str(path.absolute().parent / prepared["folder"])}


def windows(tokens: Sequence[int], *, size: int, begin: Sequence[int], n_positions: int) -> list[list[int]]:
    """Windows of `size` tokens, each begun as the model expects, until `n_positions` of them are scored.

    A short rest of the text is left out.
    """
    step = size - len(begin)
    whole = [[*begin, *tokens[i : i + step]] for i in range(0, len(tokens), step)]
    n = -(-n_positions // max(1, size - UNSCORED_TOKENS - 1))
    return [window for window in whole[: min(n, _MAX_WINDOWS)] if len(window) > 2 * UNSCORED_TOKENS]


def encode_item(item: Item, tokenizer: Tokenizer) -> dict[str, Any]:
    """An item as token ids: the prompt, and for choices what follows it."""
    chat = tokenizer.files.chat_template is not None
    context, between = _rendered(item.messages, tokenizer), "" if chat else " "
    row: dict[str, Any] = {"id": item.id, "set": "", "kind": item.kind, "type": item.type}
    row |= {"subject": "", "difficulty": item.difficulty, "metric": _METRICS[item.type]}
    row["prompt"] = _encode(context, tokenizer, begins=chat)
    if item.type == "choice":
        whole = [_encode(context + between + choice, tokenizer, begins=chat) for choice in item.choices]
        row["prompt"] = row["prompt"][: min(n_shared(row["prompt"], ids) for ids in whole)]
        row["choices"] = [ids[len(row["prompt"]) :] for ids in whole]
        row["n_scored"] = [len(ids) for ids in row["choices"]]
        row["n_characters"] = [len(choice) for choice in item.choices]
        row |= {"right": item.answer, "true": []}
    else:
        row |= {"rules": list(item.rules)} if item.type == "rules" else {"answers": list(item.answers)}
        row |= {"stops": [], "max_tokens": item.max_tokens, "end_ids": list(tokenizer.files.end_ids)}
    return row


def encode_messages(messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer) -> list[int]:
    """A conversation that is to be answered, as token ids."""
    chat = tokenizer.files.chat_template is not None
    return _encode(_rendered(messages, tokenizer), tokenizer, begins=chat)


def _rendered(messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer) -> str:
    return tokenizer.render(messages) if tokenizer.files.chat_template is not None else _plain(messages)


def _encode(text: str, tokenizer: Tokenizer, *, begins: bool) -> list[int]:
    """Ids with BOS exactly once: many chat templates write it themselves."""
    ids, begin = tokenizer.encode(text), tokenizer.begin()
    return ids if begins and ids[: len(begin)] == begin else [*begin, *ids]


def _plain(messages: Sequence[Mapping[str, str]]) -> str:
    """The form for models without a chat template, as in common few-shot prompts."""
    names = {"user": "Question", "assistant": "Answer", "system": "Instruction"}
    turns = [f"{names.get(m['role'], m['role'])}: {m['content']}\n" for m in messages]
    return "".join(turns) + "Answer:"
