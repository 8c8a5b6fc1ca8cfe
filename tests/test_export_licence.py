"""Licences for the Hub: what the card says of them, and which let nobody hand on what is made of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgequant.export.shipping.licensing import licence_of

CC_BY_ND = "Creative Commons Attribution-NoDerivatives 4.0 International Public License\n\nBy exercising ..."


def told(tmp_path: Path, card: dict[str, Any], text: str = "") -> Any:
    if text:
        (tmp_path / "LICENSE").write_text(text, encoding="utf-8")
    return licence_of(card, tmp_path)


@pytest.mark.parametrize(
    ("card", "hub_id", "title"),
    [
        ({"license": "apache-2.0"}, "apache-2.0", "apache-2.0"),
        ({"license": "Apache-2.0"}, "apache-2.0", "apache-2.0"),
        ({"license": "llama3.2"}, "llama3.2", "llama3.2"),
        ({"license": "gemma"}, "gemma", "gemma"),
        ({"license": "other", "license_name": "qwen-research"}, "other", "qwen-research"),
        ({"license": "qwen-research"}, "other", "qwen-research"),
        ({"license": ["mit", "apache-2.0"]}, "other", "mit and apache-2.0"),
        ({"license": "unknown"}, "", ""),
        ({}, "", ""),
    ],
)
def test_a_card(card: dict[str, Any], hub_id: str, title: str, tmp_path: Path) -> None:
    found = told(tmp_path, card)
    assert (found.hub_id, found.title) == (hub_id, title)


def test_a_text_without_a_card(tmp_path: Path) -> None:
    found = told(tmp_path, {}, "Apache License\nVersion 2.0, January 2004\n")
    assert (found.hub_id, found.objection) == ("apache-2.0", "")
    assert [file.name for file in found.files] == ["LICENSE"]


def test_notices_and_policies_go_along(tmp_path: Path) -> None:
    for name in ("LICENSE.txt", "NOTICE", "USE_POLICY.md", "README.md", "LICENSE-large"):
        (tmp_path / name).write_text("x" * (2 << 20 if name.endswith("large") else 3))
    assert [file.name for file in told(tmp_path, {}).files] == ["LICENSE.txt", "NOTICE", "USE_POLICY.md"]


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ({"license": "cc-by-nd-4.0"}, ""),
        ({"license": "cc-by-nc-nd-3.0"}, ""),
        ({"license": "CC-BY-NC-ND-4.0"}, ""),
        ({"license": "other", "license_name": "CC BY-ND 4.0"}, ""),
        ({"license": "other", "license_name": "our no-derivatives licence"}, ""),
        ({"license": "other"}, CC_BY_ND),
        ({}, CC_BY_ND),
    ],
)
def test_no_derivatives_are_forbidden(card: dict[str, Any], text: str, tmp_path: Path) -> None:
    assert "forbids" in told(tmp_path, card, text).objection


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ({"license": "apache-2.0"}, ""),
        ({"license": "cc-by-nc-sa-4.0"}, ""),
        ({"license": "other", "license_name": "the 2nd brand of Finland and friends"}, ""),
        ({"license": "mit"}, "MIT License, 2nd edition and so on"),
        ({}, "Some licence of our own"),
    ],
)
def test_others_are_not(card: dict[str, Any], text: str, tmp_path: Path) -> None:
    assert told(tmp_path, card, text).objection == ""


def test_none_is_an_objection(tmp_path: Path) -> None:
    assert "nothing says" in told(tmp_path, {"license": "unknown"}).objection
