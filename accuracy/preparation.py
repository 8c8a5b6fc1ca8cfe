"""Text and items as token ids: made once a run by the checkpoint's own tokenizer and template, for every engine."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.atomic import write_text
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import n_shared
from . import suites
from .items import Item

WINDOW_TOKENS = 512  # what llama-perplexity takes by default
N_WINDOWS = 16  # 8,192 tokens: the same work whatever the tokenizer makes of the text
UNSCORED_TOKENS = 32  # at the start of a window there is little to predict from


def prepare(job: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenise the text `job["text"]` and the task files `job["tasks"]` with the tokenizer in `job["folder"]`.

    Of each file `job["limit"]` items are asked, chosen as `suites` does; all of them where it is missing or None.

    Writes `job["target"]`, which the measuring processes read. Returns n_tokens, n_items, n_left_out (items that
    are too long) and chance, the share of the multiple-choice items that guessing answers.
    Runs the checkpoint's chat template: behind the fence, with a deadline.
    """
    tokenizer = Tokenizer(Path(job["folder"]))
    tokens = tokenizer.encode(Path(job["text"]).read_text(encoding="utf-8"))
    size = min(WINDOW_TOKENS, job["context"])
    sources = [suites.Source(name=task, file=Path(task), limit=job.get("limit")) for task in job["tasks"]]
    rows = [encode_item(item, tokenizer) for item in suites.read(sources) if isinstance(item, Item)]
    fitting = [row for row in rows if _length(row) <= job["context"]]
    if not fitting:
        raise Error(f"no item fits the model's context of {job['context']} tokens")
    cut = windows(tokens, size=size, begin=tokenizer.begin())
    if not cut:
        raise Error(f"a text of {len(tokens)} tokens in a context of {job['context']} is too short to be scored")
    prepared = {"folder": str(Path(job["folder"]).absolute()), "windows": cut, "items": fitting}
    write_text(Path(job["target"]), json.dumps(prepared))
    n_tokens = sum(len(window) - len(tokenizer.begin()) for window in cut)
    choices = [1 / len(row["choices"]) for row in fitting if "choices" in row]
    chance = sum(choices) / len(choices) if choices else None
    return {"n_tokens": n_tokens, "chance": chance, "n_items": len(fitting), "n_left_out": len(rows) - len(fitting)}


def read_prepared(path: Path) -> dict[str, Any]:
    """What `prepare` wrote: "windows", "items", and "folder" of the tokenizer, which is taken as seen from the file."""
    prepared: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**prepared, "folder": str(path.absolute().parent / prepared["folder"])}


def windows(tokens: Sequence[int], *, size: int, begin: Sequence[int]) -> list[list[int]]:
    """The first `N_WINDOWS` windows of `size` tokens, each begun as the model expects; a short rest is left out."""
    step = size - len(begin)
    whole = [[*begin, *tokens[i : i + step]] for i in range(0, len(tokens), step)]
    return [window for window in whole[:N_WINDOWS] if len(window) > 2 * UNSCORED_TOKENS]


def encode_item(item: Item, tokenizer: Tokenizer) -> dict[str, Any]:
    """An item as token ids: the prompt, and for choices what follows it."""
    chat = tokenizer.files.chat_template is not None
    context = tokenizer.render(item.messages) if chat else _plain(item.messages)
    between = "" if chat else " "
    row: dict[str, Any] = {"id": item.id, "kind": item.kind, "type": item.type, "difficulty": item.difficulty}
    row["prompt"] = _encode(context, tokenizer, begins=chat)
    if item.type == "choice":
        whole = [_encode(context + between + choice, tokenizer, begins=chat) for choice in item.choices]
        row["prompt"] = row["prompt"][: min(n_shared(row["prompt"], ids) for ids in whole)]
        row["choices"] = [ids[len(row["prompt"]) :] for ids in whole]
        row["n_bytes"] = [len(choice.encode()) for choice in item.choices]
        row["answer"] = item.answer
    else:
        row |= {"rules": list(item.rules)} if item.type == "rules" else {"answers": list(item.answers)}
        row |= {"max_tokens": item.max_tokens, "end_ids": list(tokenizer.files.end_ids)}
    return row


def _encode(text: str, tokenizer: Tokenizer, *, begins: bool) -> list[int]:
    """Ids with BOS exactly once: many chat templates write it themselves."""
    ids, begin = tokenizer.encode(text), tokenizer.begin()
    return ids if begins and ids[: len(begin)] == begin else [*begin, *ids]


def _plain(messages: Sequence[Mapping[str, str]]) -> str:
    """The form for models without a chat template, as in common few-shot prompts."""
    names = {"user": "Question", "assistant": "Answer", "system": "Instruction"}
    turns = [f"{names.get(m['role'], m['role'])}: {m['content']}\n" for m in messages]
    return "".join(turns) + "Answer:"


def _length(row: Mapping[str, Any]) -> int:
    longest = max((len(ids) for ids in row["choices"]), default=0) if "choices" in row else row["max_tokens"]
    return len(row["prompt"]) + int(longest)
