"""config.json in the words of transformers 4 and 5: what the tests translate is what transformers 5 writes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

import dialects
from decoders import COMPARED, DECODERS, TRANSFORMERS

pytestmark = pytest.mark.slow

RECORDED: dict[str, str] = json.loads(dialects.RECORDS.read_text(encoding="utf-8"))


@cache
def written() -> dict[str, dict[str, Any]]:
    return dialects.written(DECODERS)


@pytest.mark.parametrize("name", list(DECODERS))
def test_the_words_of_transformers_5_are_those_that_it_writes(name: str) -> None:
    """In an environment with transformers 4 its words are translated; with 5 they are what was recorded."""
    kind, said = DECODERS[name].kind, written()[name]
    new = dialects.as_transformers_5(said, kind) if TRANSFORMERS < 5 else said
    assert dialects.digest(new, kind) == RECORDED[name], dialects.deciding(new, kind)


def test_every_architecture_is_recorded() -> None:
    assert {DECODERS[name].kind for name in RECORDED if name in DECODERS} == set(COMPARED)


@pytest.mark.parametrize("name", list(DECODERS))
def test_there_and_back(name: str) -> None:
    kind, said = DECODERS[name].kind, written()[name]
    new = dialects.as_transformers_5(said, kind) if TRANSFORMERS < 5 else said
    old = dialects.as_transformers_4(new, kind)
    assert "rope_parameters" not in old and "rope_parameters" not in old.get("text_config", {})
    again = dialects.as_transformers_5(old, kind)
    assert dialects.deciding(again, kind) == dialects.deciding(new, kind)
