"""How long a format keeps to the reference's own greedy answers, where small errors compound.

Up to the first token in which a format's greedy answer differs from the reference's, both have read the same text. So
nothing needs to be generated to find it: the reference's answer is given to the format as it stands, in one pass, and
the first position at which the format's likeliest token is another one is where its own answer would have left.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..runtimes.session import Prompt, Tree
from .preparation import encode_messages

if TYPE_CHECKING:
    from ..convert.vocabulary.tokenizer import Tokenizer
    from ..runtimes.session import Session


def answers(
    prepared: Mapping[str, Any], session: "Session", tokenizer: "Tokenizer", *, context: int
) -> list[dict[str, Any]]:
    """The session's greedy answers to the prompts in `prepared["asked"]`, and to the turns of its dialogues.

    Each as id, prompt and answer (token ids), end_ids, and whether the answer `ended` by itself.
    """
    asked = prepared["asked"]
    found = [_told(row, ids) for row, ids in zip(asked, session.generate([_prompt(row) for row in asked]), strict=True)]
    for row in prepared["items"]:
        if row["type"] == "dialogue":
            found += _turns(row, session, tokenizer, context)
    return found


def _turns(
    row: Mapping[str, Any], session: "Session", tokenizer: "Tokenizer", context: int
) -> Iterator[dict[str, Any]]:
    """Answers to the turns of a dialogue, each after the answers before it, as far as the context reaches."""
    messages: list[Mapping[str, str]] = []
    for number, turn in enumerate(row["turns"], 1):
        messages.append({"role": "user", "content": turn})
        each = {**row, "id": f"{row['id']}#{number}", "prompt": encode_messages(messages, tokenizer)}
        if len(each["prompt"]) + row["max_tokens"] > context:
            return
        (ids,) = session.generate([_prompt(each)])
        yield _told(each, ids)
        messages.append({"role": "assistant", "content": tokenizer.decode(ids)})


def dialogues(
    rows: Sequence[Mapping[str, Any]], session: "Session", tokenizer: "Tokenizer", *, context: int
) -> dict[str, list[Mapping[str, str]]]:
    """Id -> the whole conversation with the session's own answers, of dialogues that the context holds."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        told = list(_turns(row, session, tokenizer, context))
        if len(told) == len(row["turns"]):
            found[row["id"]] = [
                message
                for turn, answer in zip(row["turns"], told, strict=True)
                for message in (
                    {"role": "user", "content": turn},
                    {"role": "assistant", "content": tokenizer.decode(answer["answer"])},
                )
            ]
    return found


def _prompt(row: Mapping[str, Any]) -> Prompt:
    return Prompt(token_ids=row["prompt"], max_tokens=row["max_tokens"], end_ids=row["end_ids"])


def _told(row: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "prompt": list(row["prompt"]),
        "answer": list(ids),
        "end_ids": list(row["end_ids"]),
        "ended": len(ids) < row["max_tokens"],
    }


def kept(answers: Sequence[Mapping[str, Any]], session: "Session") -> Iterator[dict[str, float]]:
    """Of each answer: `tokens` before the session's own would differ, of `length`, and the `share` that it agrees on.

    Where the answer ended by itself, ending there counts as one token more.
    """
    trees = [Tree(stem=each["prompt"], branches=[_read(each)]) for each in answers]
    for answer, grown in zip(answers, session.grow(trees), strict=True):
        tops = [int(grown.stem.argmax()), *grown.branches[0].argmax(axis=-1).tolist()]
        same = [top == token for top, token in zip(tops, answer["answer"], strict=False)]
        same += [tops[-1] in answer["end_ids"]] if answer["ended"] else []
        yield {
            "tokens": float(same.index(False) if False in same else len(same)),
            "length": float(len(same)),
            "share": sum(same) / len(same),
        }


def _read(answer: Mapping[str, Any]) -> Sequence[int]:
    """What of an answer is read to see how it goes on: all of it where it ended, for then its end is looked for."""
    ids: Sequence[int] = answer["answer"]
    return ids if answer["ended"] else ids[:-1]
