"""Tasks by name, suites, and the part of them that a limit takes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgequant import Error
from edgequant.accuracy import items, suites
from edgequant.accuracy.public.item import PublicItem
from edgequant.accuracy.public.sets import SETS
from edgequant.accuracy.subset import limited

CHOICE = {"id": "a", "kind": "k", "type": "choice", "prompt": "q?", "choices": ["x", "y"], "answer": 1}
KINDS = {"commonsense", "knowledge", "instruction", "hallucination", "mathematics", "dialogue"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def arc(n: int) -> dict[str, Any]:
    return {"question": f"q{n}", "choices": ["a", "b"], "answer": n % 2}


def test_every_set_is_of_one_of_the_six_kinds() -> None:
    assert {row.kind for row in SETS.values()} == KINDS
    assert {row.examples for row in SETS.values() if row.how_chosen == "fixed"} == {3, 4}
    for row in SETS.values():
        assert row.parts and (row.type != "text" or row.max_tokens), row.name
        assert not row.examples or row.examples_split or row.fixed, row.name


def test_tasks_as_they_are_written(tmp_path: Path) -> None:
    own, rows = write(tmp_path / "mine.jsonl", CHOICE), write(tmp_path / "arc.jsonl", arc(1))
    names = ["knowledge", str(own), "mmlu_high_school_geography@5", "bbh_snarks", f"arc_easy=  {rows}".replace(" ", "")]
    kind, mine, subject, part, local = suites.resolve([*names, f"mmlu.examples={rows}"], limit=9)
    assert (kind.name, kind.file, kind.public) == ("knowledge", items.TASKS_FOLDER / "knowledge.jsonl", None)
    assert (mine.name, mine.file, mine.limit) == ("mine", own, 9)
    assert subject.public and (subject.public.set.name, subject.public.subject) == ("mmlu", "high_school_geography")
    assert (subject.public.examples, subject.public.file, subject.public.examples_file) == (5, None, rows)
    assert part.public and (part.public.set.name, part.public.subject, part.public.examples) == ("bbh", "snarks", 3)
    assert local.public and (local.public.file, local.public.examples) == (rows, 0)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nothing"], "unknown task 'nothing'"),
        (["nothing=file"], "unknown public set 'nothing'"),
        (["mmlu_dance"], "unknown task 'mmlu_dance'"),
        (["arc_easy@few"], "after @ stands the number"),
        (["arc_easy", "arc_easy@5"], "arc_easy comes twice"),
        (["arc_easy", "mmlu.examples=dev.jsonl"], "examples of mmlu, and it is no task"),
    ],
)
def test_names_that_are_wrong(names: list[str], said: str) -> None:
    with pytest.raises(Error, match=said) as caught:
        suites.resolve(names)
    if "unknown" in said:
        assert "arc_challenge" in caught.value.hint


def test_a_limit_leaves_something() -> None:
    with pytest.raises(Error, match="a limit of 0"):
        suites.resolve(["knowledge"], limit=0)


def test_quick_and_compact() -> None:
    quick, compact = suites.read(suites.suite("quick")), suites.read(suites.suite("compact"))
    assert {item.id for item in quick} <= {item.id for item in compact}
    assert {item.id for item in compact} == {item.id for item in items.read(items.built_in())}
    kinds = Counter(item.kind for item in quick)
    assert set(kinds) <= KINDS and set(kinds.values()) == {suites.QUICK_ITEMS_A_KIND}
    assert {item.difficulty for item in quick} == {item.difficulty for item in compact}
    assert len(suites.read(suites.suite("quick", limit=3))) == 3 * len(kinds)


def test_the_paper_s_thirteen() -> None:
    """arXiv 2409.11055, table 3, with its numbers of worked examples."""
    found = {s.public.set.name: s.public.examples for s in suites.suite("paper", limit=50) if s.public}
    assert found == {
        "arc_challenge": 25, "hellaswag": 10, "winogrande": 5, "mmlu": 5, "gpqa": 0, "mmlu_pro": 5, "bbh": 3,
        "musr": 0, "ifeval": 0, "truthfulqa_mc2": 0, "gsm8k": 5, "math_hard": 4, "mt_bench": 0,
    }  # fmt: skip
    with pytest.raises(Error, match="unknown suite 'long'"):
        suites.suite("long")


def test_a_smaller_part_lies_within_a_larger_one_and_is_mixed_alike() -> None:
    every = [(f"id{n}", "abc"[n % 10 // 4]) for n in range(1000)]  # 400 a, 400 b, 200 c

    def part(n: int | None, of: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return limited(of, n, key=lambda each: each[0], stratum=lambda each: each[1])

    fifty, hundred = part(50, every), part(100, every)
    assert set(fifty) < set(hundred) and len(fifty) == 50
    assert Counter(stratum for _, stratum in hundred) == {"a": 40, "b": 40, "c": 20}
    assert set(part(50, every[::-1])) == set(fifty)  # the order of a file decides nothing
    assert hundred == [each for each in every if each in set(hundred)]
    lone = [(f"id{n}", "a" if n else "b") for n in range(101)]
    assert [("id0", "b") in part(n, lone) for n in (40, 60)] == [False, True]  # it stands in the middle
    assert part(None, every) == part(2000, every) == every


def test_the_part_of_a_set_does_not_depend_on_its_examples(tmp_path: Path) -> None:
    rows, pool = (
        write(tmp_path / "rows.jsonl", *map(arc, range(40))),
        write(tmp_path / "pool.jsonl", *map(arc, range(9))),
    )
    plain = suites.read(suites.resolve([f"arc_easy={rows}"], limit=7))
    shown = suites.read(suites.resolve([f"arc_easy@2={rows}", f"arc_easy.examples={pool}"], limit=7))
    asked = [[item.id.split(":")[1] for item in found] for found in (plain, shown)]
    assert asked[0] == asked[1] and len(plain) == 7 and plain[0].id != shown[0].id
    # The examples of a question are those that it has in the whole set.
    every = suites.read(suites.resolve([f"arc_easy@2={rows}", f"arc_easy.examples={pool}"]))
    assert set(map(str, shown)) <= set(map(str, every))


def test_an_item_that_comes_twice(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.jsonl", CHOICE), write(tmp_path / "2.jsonl", CHOICE)
    with pytest.raises(Error, match="the item a comes twice, in 1 and in 2"):
        suites.read(suites.resolve([str(first), str(second)]))


class Hub(ModuleType):
    """Stands for the library `datasets`: notes what is asked for and has rows for it."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__("datasets")
        self.rows, self.asked = rows, list[tuple[Any, ...]]()

    def load_dataset(self, name: str, config: str | None, *, split: str, revision: str) -> list[dict[str, Any]]:
        self.asked.append((name, config, split, revision))
        return self.rows


def test_rows_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub([{"input": "i", "target": "No"}])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    items = suites.read(suites.resolve(["bbh_navigate@0"]))
    assert hub.asked == [("SaylorTwift/bbh", "navigate", "test", "main")]
    assert [(item.subject, item.right) for item in items if isinstance(item, PublicItem)] == [("navigate", 1)]
    hub.rows = [{"question": "q", "subject": "anatomy", "choices": list("abcd"), "answer": 2}] * 5
    hub.asked.clear()
    (item,) = suites.read(suites.resolve(["mmlu_anatomy@5"], limit=1))
    assert hub.asked == [("cais/mmlu", "all", "test", "main"), ("cais/mmlu", "all", "dev", "main")]
    assert isinstance(item, PublicItem) and item.pairs[0][0].count("Answer: C\n\n") == 5
    hub.rows = [{"question": "q"}]
    with pytest.raises(Error, match="allenai/ai2_arc, test, row 0: the row lacks 'choices'"):
        suites.read(suites.resolve(["arc_easy"]))


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nmore")

    hub = Hub([])
    monkeypatch.setattr(hub, "load_dataset", fail)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(Error, match=r"does not load from the Hub: ConnectionError: no route$"):
        suites.read(suites.resolve(["piqa"]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Error, match="not installed") as caught:
        suites.read(suites.resolve(["piqa"]))
    assert "edgequant[tasks]" in caught.value.hint
