"""Rows of a set on the Hugging Face Hub, through the library `datasets` of the extra [tasks]."""

from collections.abc import Iterator
from typing import Any

from ... import Error


def read_rows(dataset: str, *, config: str, split: str, revision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a split and where it stands, "DATASET, SPLIT, row N"; downloaded once, then read from the cache."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise Error(
            f"{dataset} is on the Hub, and the library that loads it is not installed",
            hint="pip install 'edgequant[tasks]', or name a file: --tasks NAME=FILE",
        ) from None
    try:
        rows = load_dataset(dataset, config or None, split=split, revision=revision)
    except Exception as error:  # the library raises what its parts raise: requests, pyarrow, the Hub's own
        said = next(iter(str(error).splitlines()), "")
        raise Error(
            f"{dataset} does not load from the Hub: {type(error).__name__}: {said}",
            hint="a gated set wants `hf auth login`; without a network name a file: --tasks NAME=FILE",
        ) from error
    for number, row in enumerate(rows):
        yield f"{dataset}, {split}, row {number}", dict(row)
