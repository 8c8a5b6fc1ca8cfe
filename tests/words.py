"""The words' parts of the gate on a GGUF of metadata alone, which a conversion's own proof made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgequant import child
from edgequant.convert.vocabulary import proof
from edgequant.convert.vocabulary.tokenizer import read_files
from edgequant.convert.vocabulary.variants import variants
from edgequant.convert.vocabulary.vocabulary import entries
from edgequant.verify.finding import Finding

TOKENS = "tokenizer.ggml.tokens"


@cache
def header(folder: Path) -> Mapping[str, Any]:
    """What a GGUF of the checkpoint says."""
    files = read_files(folder)
    n_tokens = len(next(variants(files)).tokens)
    found = proof.prove(variants(files), n_tokens=n_tokens, name="")
    return {"general.architecture": "llama", **dict(entries(found, n_tokens))}


def check(part: str, folder: Path, target: Path, *, end: str = "", changes: Mapping[str, Any] | None = None) -> Finding:
    """What a part of the gate says of the GGUF `target`, made here; a changed value of None leaves the key out."""
    says = {**header(folder), **(changes or {})}
    target.write_bytes(proof.pack({key: value for key, value in says.items() if value is not None}))
    job = {"folder": str(folder), "container": "gguf", "path": str(target), "end": end}
    return Finding.from_json(child.run(f"edgequant.verify.{part}:check", job).unwrap())


def exchanged(folder: Path, first: str, second: str) -> dict[str, Any]:
    """The change that puts two tokens in each other's place."""
    other = {first: second, second: first}
    return {TOKENS: [other.get(token, token) for token in header(folder)[TOKENS]]}
