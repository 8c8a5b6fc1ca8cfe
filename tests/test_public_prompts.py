"""Prompts of the public sets on real rows against those that lm-evaluation-harness 0.4.13 makes of the same rows.

harness_prompts.json holds no rows, only SHA-256 digests of the harness's own requests: for each set and number of
worked examples [[[context, continuation], ...], ...], one list a row, of the first 40 rows as items and the next 60 as
the pool of examples (MMLU: two subjects and its dev split; BBH: five rows a part; MATH: rows of algebra).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgequant.accuracy.public import reading
from edgequant.accuracy.public.item import PublicItem
from edgequant.accuracy.public.sets import SETS

HARNESS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "harness_prompts.json").read_text(encoding="utf-8")
)
Row = dict[str, Any]
N_ITEMS, N_ROWS = 40, 100


def hub_hellaswag(row: Row) -> Row:
    """A row of the bench folder in the Hub's fields, cut where the digests' rows were cut."""
    label, context = row["ctx"].split(": ", 1)
    before, _, last = context.rpartition(". ")
    return {**row, "activity_label": label, "ctx_a": f"{before}." if before else "", "ctx_b": last}


def of_subjects(*subjects: str) -> Callable[[Iterator[Row]], list[Row]]:
    def chosen(rows: Iterator[Row]) -> list[Row]:
        every = list(rows)
        return [row for subject in subjects for row in [r for r in every if r["subject"] == subject][:N_ITEMS]]

    return chosen


def five_a_part(rows: Iterator[Row]) -> list[Row]:
    return [row for _, part in itertools.groupby(rows, key=lambda row: row["task"]) for row in list(part)[:5]]


def algebra(rows: Iterator[Row]) -> list[Row]:
    return [row for row in rows if row["subject"] == "Algebra"][:N_ROWS]


#: set -> file in the bench folder, and which of its rows
FILES: dict[str, tuple[str, Callable[[Iterator[Row]], list[Row]]]] = {
    "arc_challenge": ("arc_challenge/test.jsonl", list),
    "arc_easy": ("arc_easy/test.jsonl", list),
    "hellaswag": ("hellaswag/val_first2000.jsonl", lambda rows: [hub_hellaswag(row) for row in rows]),
    "winogrande": ("winogrande/val.jsonl", list),
    "openbookqa": ("openbookqa/test.jsonl", list),
    "commonsense_qa": ("commonsenseqa/dev_rand_split.jsonl", list),
    "boolq": ("boolq/dev.jsonl", list),
    "gsm8k": ("gsm8k/test.jsonl", list),
    "truthfulqa_mc1": ("truthfulqa/mc_task.json", list),
    "truthfulqa_mc2": ("truthfulqa/mc_task.json", list),
    "ifeval": ("ifeval/input_data.jsonl", list),
    "mmlu": ("mmlu/test.jsonl", of_subjects("high_school_geography", "us_foreign_policy")),
    "bbh": ("bbh/all.jsonl", five_a_part),
    "math": ("math500/test.jsonl", algebra),
    "math_hard": ("math500/test.jsonl", algebra),
    "hendrycks_math": ("math500/test.jsonl", algebra),
}
WHOLE = {"mmlu", "bbh"}  # whose rows are all items


def rows_of(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8")
    yield from json.loads(text) if path.suffix == ".json" else map(json.loads, text.strip().split("\n"))


def written(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(name: str, bench: Path, folder: Path) -> list[PublicItem]:
    """The items of "set@n" from the first rows of its file."""
    head, _, n = name.partition("@")
    file, choose = FILES[head]
    rows = choose(rows_of(bench / file))
    items, pool = (rows, []) if head in WHOLE else (rows[:N_ITEMS], rows[N_ITEMS:N_ROWS])
    examples = bench / "mmlu/dev.jsonl" if head == "mmlu" else written(folder / "pool.jsonl", pool)
    wanted = reading.Wanted(
        set=SETS[head], examples=int(n), file=written(folder / "items.jsonl", items), examples_file=examples
    )
    return reading.read(wanted)


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@pytest.mark.parametrize("name", HARNESS)
def test_prompts_are_the_harness_s(name: str, bench_folder: Path, tmp_path: Path) -> None:
    items = asked(name, bench_folder, tmp_path)
    assert len(items) == HARNESS[name]["items"]
    requests = [[list(pair) for pair in item.pairs] or [[item.prompt]] for item in items]
    assert digest(requests) == HARNESS[name]["prompts"]
    if "right" in HARNESS[name]:
        assert digest([item.right for item in items]) == HARNESS[name]["right"]


def test_every_set_that_is_said_to_be_tried_was() -> None:
    tried = {name for name, row in SETS.items() if row.tried}
    assert tried - {"mt_bench"} == {name.split("@")[0] for name in HARNESS}
    assert {name for name, row in SETS.items() if not row.tried} == {
        "mmlu_pro", "gpqa", "musr", "piqa", "lambada_openai",
    }  # fmt: skip


def test_whole_files_read(bench_folder: Path) -> None:
    """Every row of the folder, so that a row of an unusual form shows."""
    sizes = {"truthfulqa_mc2": 790, "ifeval": 541, "bbh": 5758, "math": 500, "hellaswag": 2000, "winogrande": 1267}
    for name, size in sizes.items():
        items = reading.read(reading.Wanted(set=SETS[name], file=bench_folder / FILES[name][0]))
        assert len(items) == size and len({item.id for item in items}) == size
    levels = reading.read(reading.Wanted(set=SETS["math_hard"], file=bench_folder / "math500/test.jsonl"))
    assert len(levels) == 134 and {item.difficulty for item in levels} == {"hard"}


def test_mt_bench(bench_folder: Path) -> None:
    items = reading.read(reading.Wanted(set=SETS["mt_bench"], file=bench_folder / "mt_bench/question.jsonl"))
    assert len(items) == 80 and {len(item.turns) for item in items} == {2}
    assert len({item.subject for item in items}) == 8
