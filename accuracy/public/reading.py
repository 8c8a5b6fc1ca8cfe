"""From rows to items: a set's questions, their worked examples, and the whole prompts."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ... import Error
from . import files, fixed_examples, hub
from .examples import choose
from .item import PublicItem, Type
from .question import Question, Row
from .sets import PublicSet

Rows = Iterable[tuple[str, Row]]  # where a row stands, and the row


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A set as it is wanted: `subject` "" for all of it; files of the user's own, or None for the Hub's rows."""

    set: PublicSet
    subject: str = ""
    examples: int = 0
    file: Path | None = None
    examples_file: Path | None = None


def read(wanted: Wanted) -> list[PublicItem]:
    """Every item, in the rows' order; `Error` names the file and line, or the dataset and row, of one that is wrong."""
    rows = files.read_rows(wanted.file) if wanted.file else _of_hub(wanted)
    questions = _questions(rows, wanted, keep=wanted.set.only)
    if not questions:
        raise Error(f"{wanted.file or wanted.set.hub} holds no rows of {_named(wanted)}")
    grouped = _by_subject(questions)
    pools = _pools(wanted, grouped)
    items: dict[int, PublicItem] = {}
    for subject, indices in grouped.items():
        asked = [questions[index] for index in indices]
        shown = choose(asked, pools.get(subject, ()), n=wanted.examples, how=wanted.set.how_chosen)
        for index, question, examples in zip(indices, asked, shown, strict=True):
            items[index] = _item(question, examples, wanted.set)
    return _with_ids([items[index] for index in range(len(questions))], questions, n_examples=wanted.examples)


def _named(wanted: Wanted) -> str:
    return f"{wanted.set.name}_{wanted.subject}" if wanted.subject else wanted.set.name


def _of_hub(wanted: Wanted, split: str = "") -> Iterator[tuple[str, Row]]:
    """Rows of the Hub's parts; the part's name becomes the row's subject where the rows do not tell it."""
    for subject, config, own_split in wanted.set.parts:
        if not subject or wanted.subject in ("", subject):
            found = hub.read_rows(wanted.set.hub, config=config, split=split or own_split, revision=wanted.set.revision)
            yield from ((where, {"subject": subject, **row} if subject else row) for where, row in found)


def _questions(rows: Rows, wanted: Wanted, *, keep: Callable[[Row], bool] = lambda row: True) -> list[Question]:
    """The rows as questions; where one subject is wanted, of that alone. A row that names none is of the wanted one."""
    found = []
    for where, row in rows:
        tells = not wanted.subject or row.keys() & {"subject", "task", "type"}
        told = row if tells else {**row, "subject": wanted.subject}
        if not keep(told):
            continue
        question = _question(told, wanted.set, where)
        if wanted.subject in ("", question.subject):
            found.append(question)
    return found


def _question(row: Row, public: PublicSet, where: str) -> Question:
    try:
        return public.question(row)
    except KeyError as error:
        raise Error(f"{where}: the row lacks {error.args[0]!r}", hint=f"fields as in {public.hub} on the Hub") from None
    except (ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise Error(f"{where}: no row of {public.name}: {error}") from None


def _by_subject(questions: Sequence[Question]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        grouped.setdefault(question.subject, []).append(index)
    return grouped


def _pools(wanted: Wanted, subjects: Iterable[str]) -> dict[str, list[Question]]:
    """Subject -> the questions that worked examples are taken from: the subject's own where the set is made of them."""
    if not wanted.examples:
        return {}
    if wanted.set.fixed and not wanted.examples_file:
        return {subject: _fixed(wanted, subject) for subject in subjects}
    pool = _questions(_rows_of_examples(wanted), wanted)
    if not wanted.set.subjects:
        return {subject: pool for subject in subjects}
    return {subject: [each for each in pool if each.subject == subject] for subject in subjects}


def _rows_of_examples(wanted: Wanted) -> Rows:
    if wanted.examples_file:
        return files.read_rows(wanted.examples_file)
    if not wanted.file and wanted.set.examples_split:
        return _of_hub(wanted, wanted.set.examples_split)
    name, split = wanted.set.name, wanted.set.examples_split or "a"
    raise Error(
        f"{_named(wanted)} is asked with {wanted.examples} worked examples, and there are none beside {wanted.file}",
        hint=f"name a file with rows of the {split} split, {name}.examples=FILE; or ask without them: {name}@0",
    )


def _fixed(wanted: Wanted, subject: str) -> list[Question]:
    """The examples that are a part of the prompt, from the files of lm-evaluation-harness."""
    name, file = wanted.set.name, wanted.set.fixed.format(subject=subject)
    folder = fixed_examples.harness_folder()
    if folder is None:
        raise Error(
            f"the worked examples of {name} are in lm-evaluation-harness's files, and it is not installed",
            hint=f"pip install --no-deps lm-eval; or name a file, {name}.examples=FILE; or ask without them, {name}@0",
        )
    rows = fixed_examples.read(folder, file)
    return [_question({"task": subject, **row}, wanted.set, f"{folder / file}") for row in rows]


def _item(question: Question, examples: Sequence[Question], public: PublicSet) -> PublicItem:
    """The item of a question, without an id yet."""
    before = "".join(f"{example.worked()}\n\n" for example in examples)
    before = public.introduction(question.subject) + before
    asks = public.type in ("text", "rules")
    return PublicItem(
        id="",
        set=public.name,
        kind=public.kind,
        type=public.type,
        subject=question.subject,
        difficulty=question.difficulty,
        pairs=_pairs(question, before, public.type),
        right=question.right,
        true=question.true,
        n_characters=[len(choice) for choice in question.choices],
        prompt=before + question.text if asks else "",
        answer=question.reference or question.answer if asks else "",
        rules=question.rules,
        turns=question.turns,
        stops=public.stops,
        max_tokens=public.max_tokens,
    )


def _pairs(question: Question, before: str, kind: Type) -> list[tuple[str, str]]:
    """(context, continuation) of what is scored by log-likelihood, one space between the two."""
    if kind == "word":
        return [(before + question.text, f" {question.answer}")]
    if question.texts:
        return [(before + asked, f" {question.answer}") for asked in question.texts]
    return [(before + question.text, f" {choice}") for choice in question.choices]


def _with_ids(items: Sequence[PublicItem], questions: Sequence[Question], *, n_examples: int) -> list[PublicItem]:
    """Ids of the set, the worked examples and the question's content; a question that comes again is numbered."""
    seen: Counter[str] = Counter()
    named = []
    for item, question in zip(items, questions, strict=True):
        content = json.dumps(asdict(question), sort_keys=True).encode()
        name = f"{item.set}@{n_examples}:{hashlib.sha256(content).hexdigest()[:16]}"
        seen[name] += 1
        named.append(replace(item, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return named
