"""Which items a measurement asks: built-in kinds, files of the user's own, and public sets by name; and named suites.

A task is written

    knowledge                   a built-in kind, a file of tasks/
    mine.jsonl                  a file of your own, in the form that items.py describes
    arc_challenge               a public set, loaded from the Hub
    mmlu_anatomy                one subject of it
    arc_challenge@25            with 25 worked examples before each question instead of the set's usual number
    arc_challenge=FILE          its rows from a file with the fields of the Hub's, one JSON object a line or one array
    arc_challenge.examples=FILE the rows that its worked examples are taken from
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import Error
from . import items
from .items import Item
from .public import reading
from .public.item import PublicItem
from .public.sets import SETS, PublicSet
from .subset import limited

#: items of each built-in kind in the suite `quick`
QUICK_ITEMS_A_KIND = 20
SUITES: Mapping[str, str] = {
    "quick": f"{QUICK_ITEMS_A_KIND} of the built-in items of each kind",
    "compact": "all built-in items",
    "paper": "the thirteen public sets of arXiv 2409.11055, with its numbers of worked examples",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where some of the items come from: a file in the form of items.py, or a public set; at most `limit` of them."""

    name: str
    file: Path | None = None
    public: reading.Wanted | None = None
    limit: int | None = None


def suite(name: str, *, limit: int | None = None) -> list[Source]:
    """The sources of a named suite, each with at most `limit` items."""
    if name not in SUITES:
        raise Error(f"unknown suite {name!r}", hint=f"known suites: {', '.join(SUITES)}")
    if name == "paper":
        thirteen = (row for row in SETS.values() if row.paper is not None)
        return resolve([f"{row.name}@{row.paper}" for row in thirteen], limit=limit)
    if name == "quick":
        limit = min(QUICK_ITEMS_A_KIND, limit or QUICK_ITEMS_A_KIND)
    return resolve([file.stem for file in items.built_in()], limit=limit)


def resolve(names: Sequence[str], *, limit: int | None = None) -> list[Source]:
    """The sources of tasks as they are written above; `Error` for one that is not known or comes twice."""
    if limit is not None and limit < 1:
        raise Error(f"a limit of {limit} leaves no items", hint="leave it out for all items")
    examples = dict(_examples(name) for name in names if _examples(name)[0])
    found = [_source(name, examples, limit) for name in names if not _examples(name)[0]]
    for name in (source.name for source in found):
        if sum(source.name == name for source in found) > 1:
            raise Error(f"the task {name} comes twice")
    asked = {source.public.set.name for source in found if source.public}
    if unused := examples.keys() - asked:
        raise Error(f"there are worked examples of {sorted(unused)[0]}, and it is no task here")
    return found


def _examples(written: str) -> tuple[str, Path]:
    """("arc_challenge", FILE) of "arc_challenge.examples=FILE"; "" for everything else."""
    head, equals, file = written.partition("=")
    name, _, what = head.rpartition(".")
    return (name, Path(file)) if equals and what == "examples" and name in SETS else ("", Path())


def _source(written: str, examples: Mapping[str, Path], limit: int | None) -> Source:
    head, equals, file = written.partition("=")
    named, at, count = head.partition("@")
    public, subject = _public(named)
    if public is None:
        if equals and not Path(written).is_file():
            raise Error(f"unknown public set {named!r}", hint=f"known sets: {', '.join(SETS)}")
        own = _own(written)
        return Source(name=own.stem, file=own, limit=limit)
    wanted = reading.Wanted(
        set=public,
        subject=subject,
        examples=_count(count, written) if at else public.examples,
        file=Path(file) if equals else None,
        examples_file=examples.get(public.name),
    )
    return Source(name=named, public=wanted, limit=limit)


def _own(written: str) -> Path:
    try:
        return items.find(written)
    except Error as error:
        raise Error(str(error), hint=f"{error.hint}; or a public set: {', '.join(SETS)}") from None


def _public(named: str) -> tuple[PublicSet | None, str]:
    """The set of a name, and the subject in it."""
    if named in SETS:
        return SETS[named], ""
    for row in SETS.values():
        if named.removeprefix(f"{row.name}_") in row.subjects and named.startswith(row.name):
            return row, named.removeprefix(f"{row.name}_")
    return None, ""


def _count(written: str, name: str) -> int:
    if not written.isdecimal():
        raise Error(f"{name}: after @ stands the number of worked examples")
    return int(written)


def check(sources: Sequence[Source]) -> None:
    """Raise `Error` where a file of one's own does not read; public sets are left for later."""
    if own := [source.file for source in sources if source.file]:
        items.read(own)


def read(sources: Sequence[Source]) -> list[Item | PublicItem]:
    """All items of the sources, each source's limited to its part; `Error` where two sources hold the same item."""
    found: list[Item | PublicItem] = []
    home: dict[str, str] = {}
    for source in sources:
        for item in _read(source):
            if item.id in home:
                raise Error(f"the item {item.id} comes twice, in {home[item.id]} and in {source.name}")
            home[item.id] = source.name
            found.append(item)
    return found


def _read(source: Source) -> Sequence[Item | PublicItem]:
    if source.public:
        return limited(
            reading.read(source.public),
            source.limit,
            key=lambda item: item.id.split(":")[1],  # the question's own, whatever stands before it
            stratum=lambda item: (item.subject, item.difficulty),
        )
    if source.file is None:
        raise ValueError(f"the source {source.name} has neither a file nor a set")
    own = items.read([source.file])
    return limited(
        own, source.limit, key=lambda item: item.id, stratum=lambda item: (item.kind, item.type, item.difficulty)
    )
