"""The items of the comparison with lm-evaluation-harness: the first rows of public sets, in files that both sides read.

The rows come from the folder that EDGEQUANT_BENCH_DIR names and are written with the fields of the Hub's. The harness
reads them by its own tasks, in which nothing but the place of the rows is another.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import ascii_uppercase
from typing import Any

VARIABLE = "EDGEQUANT_BENCH_DIR"
Row = dict[str, Any]


def _arc(row: Row) -> Row:
    labels = list(ascii_uppercase[: len(row["choices"])])
    choices = {"text": row["choices"], "label": labels}
    return {"question": row["question"], "choices": choices, "answerKey": labels[row["answer"]]}


def _hellaswag(row: Row) -> Row:
    label, _, begun = row["ctx"].partition(": ")
    given = {"activity_label": label, "ctx_a": begun, "ctx_b": "", "endings": row["endings"]}
    return {**given, "label": str(row["label"])}


def _mmlu(row: Row) -> Row:
    return {name: row[name] for name in ("question", "subject", "choices", "answer")}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one set. `task` is the harness's name of it, `definition` its file there, `splits` -> files of rows."""

    task: str
    written: Sequence[str]  # as edgequant takes it: {name of a split} is the file of its rows
    definition: str
    splits: Mapping[str, str]
    n: int
    row: Callable[[Row], Row]
    subject: str = ""
    examples: int = 0


ARC = Part(
    task="arc_easy",
    written=["arc_easy={test}"],
    definition="arc/arc_easy.yaml",
    splits={"test": "arc_easy/test.jsonl"},
    n=100,
    row=_arc,
)
HELLASWAG = Part(
    task="hellaswag",
    written=["hellaswag={validation}"],
    definition="hellaswag/hellaswag.yaml",
    splits={"validation": "hellaswag/val_first2000.jsonl"},
    n=50,
    row=_hellaswag,
)
GEOGRAPHY = Part(
    task="mmlu_high_school_geography",
    written=["mmlu_high_school_geography@5={test}", "mmlu.examples={dev}"],
    definition="mmlu/default/mmlu_high_school_geography.yaml",
    splits={"test": "mmlu/test.jsonl", "dev": "mmlu/dev.jsonl"},
    n=100,
    row=_mmlu,
    subject="high_school_geography",
    examples=5,
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Parts that are asked together, written down for both sides."""

    names: Sequence[str]
    counts: Sequence[int]
    tasks: Sequence[str]  # of edgequant
    definitions: Sequence[str]  # of the harness


def bench() -> Path:
    """The folder of public sets; `SystemExit` where there is none."""
    named = os.environ.get(VARIABLE, "")
    if not named or not Path(named).is_dir():
        raise SystemExit(f"{VARIABLE} names no folder of public sets")
    return Path(named)


def ask(parts: Sequence[Part], folder: Path, harness_tasks: Path | None, *, share: float = 1.0) -> Asked:
    """Write the rows and the tasks of some parts to `folder`; `share` of the rows, for a trial."""
    folder.mkdir()
    counts, tasks, definitions = [], [], []
    for part in parts:
        n = max(4, round(share * part.n))
        files = {split: _write(part, split, folder, n) for split in part.splits}
        counts.append(sum(1 for _ in files[next(iter(files))].open(encoding="utf-8")))
        tasks += [written.format_map(files) for written in part.written]
        if harness_tasks:
            definitions.append(str(_define(part, files, folder, harness_tasks)))
    return Asked(names=[part.task for part in parts], counts=counts, tasks=tasks, definitions=definitions)


def _write(part: Part, split: str, folder: Path, n: int) -> Path:
    """The first `n` rows of a split, of worked examples as many as are shown."""
    source = bench() / part.splits[split]
    rows = (json.loads(line) for line in source.read_text(encoding="utf-8").splitlines())
    wanted = (row for row in rows if part.subject in ("", row.get("subject")))
    target = folder / f"{part.task}-{split}.jsonl"
    kept = islice(wanted, part.examples if split == "dev" else n)
    target.write_text("".join(f"{json.dumps(part.row(row))}\n" for row in kept), encoding="utf-8")
    return target


def _define(part: Part, files: Mapping[str, Path], folder: Path, harness_tasks: Path) -> Path:
    """A task of the harness's that takes these rows; its file is YAML, of which JSON is a part."""
    tested = next(iter(files))
    place = {
        "include": str(harness_tasks / part.definition),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(file) for split, file in files.items()}},
        "training_split": None,
        "validation_split": tested if tested == "validation" else None,
        "test_split": tested if tested == "test" else None,
        "num_fewshot": part.examples,
    }
    target = folder / f"{part.task}.yaml"
    target.write_text(json.dumps({**place, "task": part.task}, indent=1), encoding="utf-8")
    return target
