"""Worked examples that belong to a prompt's definition: BBH's three a part, Minerva's four.

They are questions of others, so they are not kept here. lm-evaluation-harness carries them in its files; where it is
installed they are read from there, without importing it.
"""

import ast
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from ... import Error

_LISTING = "list_fewshot_samples"  # the function of the harness's MATH tasks that returns their examples


def harness_folder() -> Path | None:
    """The folder of lm-evaluation-harness's task definitions; None where it is not installed."""
    try:
        found = Path(str(distribution("lm_eval").locate_file("lm_eval/tasks")))
    except PackageNotFoundError:
        return None
    return found if found.is_dir() else None


def read(folder: Path, file: str) -> list[dict[str, Any]]:
    """The rows in a task's YAML file, or in the list that a function of a Python file returns."""
    path = folder / file
    try:
        source = path.read_text(encoding="utf-8")
        rows = _yaml(source) if path.suffix == ".yaml" else _returned(source)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise Error(
            f"{path} does not hold the worked examples: {type(error).__name__}",
            hint="they were found there in lm-eval 0.4.13; name a file of them instead: --tasks NAME.examples=FILE",
        ) from error
    return [dict(row) for row in rows]


def _yaml(source: str) -> list[dict[str, Any]]:
    import yaml

    try:
        rows: list[dict[str, Any]] = yaml.safe_load(source)["fewshot_config"]["samples"]
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    return rows


def _returned(source: str) -> list[dict[str, Any]]:
    """The literal that the listing function returns; nothing is run."""
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    listing = next(node for node in functions if node.name == _LISTING)
    returned = next(node for node in listing.body if isinstance(node, ast.Return))
    if returned.value is None:
        raise ValueError(_LISTING)
    rows: list[dict[str, Any]] = ast.literal_eval(returned.value)
    return rows
