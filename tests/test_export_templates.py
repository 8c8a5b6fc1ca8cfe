"""Ollama's templates: each in Go writes what transformers makes of the published one in Jinja."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import go_templates
import small_checkpoint
from edgequant.export.shipping import go_templates as shipped
from edgequant.export.shipping.go_templates import FAMILIES, Family, asked, recognise

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_3_GO = (
    "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


def collated(messages: Any) -> dict[str, Any]:
    """What Ollama gives a template (template.go, `Execute` and `collate`): neighbours of one role joined."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["Role"] == message["role"]:
            joined[-1]["Content"] += "\n\n" + message["content"]
        else:
            joined.append({"Role": message["role"], "Content": message["content"]})
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    return {"Messages": joined, "System": system, "Response": "", "Tools": []}


def by_transformers(jinja: str, messages: Any, tokens: Any) -> str | None:
    """The conversation as transformers renders it, None where the template refuses it."""
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (text,), _ = render_jinja_template(
            [[dict(message) for message in messages]], chat_template=jinja, add_generation_prompt=True, **tokens
        )
    except TemplateError:
        return None
    return str(text)


def parted(family: Family) -> list[str]:
    """The names of the conversations that the two forms write otherwise; BOS is Ollama's own affair."""
    names = []
    for case in asked():
        expected = by_transformers(family.jinja, case.messages, family.tokens)
        ours = go_templates.render(family.go, collated(case.messages))
        if expected is not None and ours != expected.removeprefix(family.tokens.get("bos_token", "")):
            names.append(case.name.partition(",")[0])
    return names


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_go_form_writes_what_transformers_does(family: Family) -> None:
    assert parted(family) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_most_conversations_are_no_refusal(family: Family) -> None:
    """A refusal proves nothing; Mistral's refuse system messages, the others nothing."""
    said = [by_transformers(family.jinja, case.messages, family.tokens) for case in asked()]
    assert sum(text is not None for text in said) >= (3 if family.writes_bos else len(said))


@pytest.mark.slow
def test_a_template_that_strips_spaces_cannot_be_said_in_go() -> None:
    """Why Llama 3 is not among the families: with spaces at the ends of a message the two part, and only there."""
    family = Family(name="Llama 3", jinja=LLAMA_3, go=LLAMA_3_GO, tokens={"bos_token": "<|begin_of_text|>"})
    assert parted(family) == ["spaces"]


def test_the_conversations_are_the_gates() -> None:
    """All without tools that reach a template of Ollama's as they are."""
    names = [case.name for case in asked()]
    assert len(names) == 7 and not any("tool" in name or "in a row" in name for name in names)
    assert all(case.add_generation_prompt for case in asked())


def test_no_template_breaks_out_of_a_modelfile() -> None:
    assert not [family.name for family in FAMILIES if '"""' in family.go]
    assert len({family.go for family in FAMILIES}) == len(FAMILIES)


def checkpoint(folder: Path, template: str | None, **tokens: str) -> Path:
    """A small checkpoint with this chat template."""
    small_checkpoint.write_tokenizer(folder)
    small_checkpoint.write_json(folder / "config.json", small_checkpoint.config())
    small_checkpoint.change_json(folder / "tokenizer_config.json", chat_template=template, **tokens)
    return folder


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_template_is_recognised_by_what_it_writes(family: Family, tmp_path: Path) -> None:
    """Written in another way: in a block that says nothing."""
    text = "{% if true %}" + family.jinja + "{% endif %}"
    folder = checkpoint(tmp_path, text, **{"bos_token": "<s>", "eos_token": "</s>", **family.tokens})
    found = recognise(folder)
    assert found.family is family
    assert found.refuses == family.writes_bos


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "no chat template"),
        (LLAMA_3, "none of those that are proven"),
        ("{{ messages[0]['content'] }}", "none of those that are proven"),
        ("{{ raise_exception('never') }}", "none of those that are proven"),
        ("{% for %}", "none of those that are proven"),
        ("{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3, "could not be rendered"),
    ],
)
def test_what_is_not_recognised_says_why(template: str | None, why: str, tmp_path: Path) -> None:
    found = recognise(checkpoint(tmp_path, template))
    assert found.family is None and why in found.why


def test_a_bos_that_is_part_of_the_format_is_no_bos_of_ollamas(tmp_path: Path) -> None:
    """SmolLM2's BOS is <|im_start|>, which ChatML writes anyway."""
    smol = next(family for family in FAMILIES if "SmolLM" in family.name)
    assert recognise(checkpoint(tmp_path, smol.jinja, bos_token="<|im_start|>")).family is smol


def test_the_pocket_models_template_is_chatml(pocket_folder: Path) -> None:
    assert json.loads((pocket_folder / "tokenizer_config.json").read_text())["chat_template"]
    found = recognise(pocket_folder)
    assert found.family is FAMILIES[0]


def test_go_names_nothing_but_what_ollama_has() -> None:
    known = {"range", ".Messages", "if", "else", "eq", "ne", "index", "end", ".Role", ".Content", "0"}
    for family in FAMILIES:
        words = re.findall(r"\{\{-?\s*(.*?)\s*-?\}\}", family.go)
        used = {word for words_ in words for word in re.sub(r'"[^"]*"|[()]', " ", words_).split()}
        assert used <= known, family.name


def test_rendering_reports_a_template_that_does_not_parse() -> None:
    assert all("failed" in row for row in shipped.rendered("{% for %}", {}))
