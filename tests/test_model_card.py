"""What a GGUF says about itself: the values that ggml's docs/gguf.md and SPDX prescribe for each card."""

import dataclasses
from pathlib import Path
from typing import Any

import gguf
import pytest

import small_checkpoint
from edgequant import __version__
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.model_card import entries

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
language:
- en
- no
license: apache-2.0
license_link: LICENSE
base_model: HuggingFaceTB/SmolLM2-135M
tags:
- chat
- 2024
pipeline_tag: text-generation
library_name: transformers
version: 1.10
---

# A model

---
license: mit
---
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "SmolLM2-135M-Instruct-v0.2")


def told(folder: Path, card: str | bytes | None = None, *, hub_id: str = "", **changes: Any) -> dict[str, Any]:
    """The entries with general. left out, for a folder with this README.md."""
    if card is not None:
        (folder / "README.md").write_bytes(card.encode() if isinstance(card, str) else card)
    checkpoint = open_folder(folder, source=hub_id, revision=COMMIT if hub_id else "")
    found = entries(dataclasses.replace(checkpoint, **changes))
    assert all(key.startswith("general.") for key in found)
    assert all(isinstance(value, int) or value for value in found.values())
    return {key.removeprefix("general."): value for key, value in found.items()}


def test_a_card(folder: Path) -> None:
    assert told(folder, CARD, hub_id="Owner/SmolLM2-135M-Instruct-v0.2") == {
        "type": "model",
        "name": folder.name,
        "organization": "Owner",
        "basename": "SmolLM2",
        "size_label": "26K",  # 25760 weights: the name's 135M is not true of this one
        "finetune": "Instruct",
        "version": "v0.2",
        "quantized_by": f"edgequant {__version__}",
        "license": "Apache-2.0",
        "license.link": f"https://huggingface.co/Owner/SmolLM2-135M-Instruct-v0.2/blob/{COMMIT}/LICENSE",
        "tags": ["chat", "2024", "text-generation"],
        "languages": ["en", "no"],
        "repo_url": "https://huggingface.co/Owner/SmolLM2-135M-Instruct-v0.2",
        "source.repo_url": "https://huggingface.co/Owner/SmolLM2-135M-Instruct-v0.2",
        "source.url": f"https://huggingface.co/Owner/SmolLM2-135M-Instruct-v0.2/tree/{COMMIT}",
        "base_model.count": 1,
        "base_model.0.name": "SmolLM2-135M",
        "base_model.0.organization": "HuggingFaceTB",
        "base_model.0.repo_url": "https://huggingface.co/HuggingFaceTB/SmolLM2-135M",
    }


def test_every_key_is_one_of_the_format(folder: Path) -> None:
    """The gguf package lists the format's keys; where it has {id}, ours have a number."""
    known = {value for name, value in vars(gguf.Keys.General).items() if not name.startswith("_")}
    named = "author: A\ndescription: D\nlicense_name: N\nlicense_link: https://l\nbase_model: [a/b, https://c.org/d]\n"
    found = told(folder, CARD.replace("version: 1.10\n", named), hub_id="Owner/Model")
    assert {f"general.{key}".replace(".0.", ".{id}.").replace(".1.", ".{id}.") for key in found} <= known
    assert found["base_model.count"] == 2 and found["base_model.1.repo_url"] == "https://c.org/d"


ALWAYS = {"type", "name", "basename", "finetune", "size_label", "version", "quantized_by"}


@pytest.mark.parametrize(
    "card",
    [
        None,
        "",
        "# a model without front matter\n",
        "---\nlicense: mit\n# no end\n",
        "---\n---\n",
        "---\n- license\n- mit\n---\n",
        "---\nlicense\n---\n",
        "---\nlicense: [mit\ntags: }\n---\n",
        "---\n? [a, b]\n: c\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
        "---\nlicense: &a [*a]\n---\n",
        "---\nlicense: null\ntags: ~\nlanguage:\nbase_model: {}\nname: [[x]]\nlicense_name: None\n---\n",
        "---\nlicense: !!python/object/apply:os.system [exit 1]\n---\n"[:16],
        b"\xff\xfe\x00-\x00-\x00-\x00",
        b"\x00" * 100,
    ],
)
def test_an_odd_card_is_left_out(folder: Path, card: str | bytes | None) -> None:
    assert told(folder, card).keys() == ALWAYS


def test_a_card_that_is_a_folder(folder: Path) -> None:
    (folder / "README.md").mkdir()
    assert told(folder).keys() == ALWAYS


@pytest.mark.parametrize("card", ["\ufeff" + CARD, "\n" + CARD, CARD.replace("\n", "\r\n")])
def test_marks_and_line_ends_of_other_systems(folder: Path, card: str) -> None:
    found = told(folder, card)
    assert (found["license"], found["languages"]) == ("Apache-2.0", ["en", "no"])


def test_tabs_and_bytes_that_are_no_text(folder: Path) -> None:
    card = b"---\nlicense: mit\ntags:\n\t- a\n\t- caf\xe9 au lait\n---\n"
    assert told(folder, card)["tags"] == ["a", "caf\ufffd au lait"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("license: MIT", {"license": "MIT"}),
        ("license: cc-by-nc-sa-4.0", {"license": "CC-BY-NC-SA-4.0"}),
        ("license: [apache-2.0, mit]", {"license": "Apache-2.0 AND MIT"}),
        ("license:\n- bsd-3-clause", {"license": "BSD-3-Clause"}),
        ("license: llama3.1", {"license": "LicenseRef-llama3.1", "license.name": "llama3.1"}),
        (
            "license: other\nlicense_name: qwen research\nlicense_link: https://x.org/L",
            {
                "license": "LicenseRef-qwen-research",
                "license.name": "qwen research",
                "license.link": "https://x.org/L",
            },
        ),
        ("license: other", {"license": "LicenseRef-other"}),
        ("license: other\nlicense_link: LICENSE", {"license": "LicenseRef-other"}),  # a path on nobody's disk
        ("license: unknown", {}),
        ("license: {name: mit}", {}),
        ("license: 5", {"license": "LicenseRef-5", "license.name": "5"}),
    ],
)
def test_licences(folder: Path, fields: str, expected: dict[str, str]) -> None:
    found = told(folder, f"---\n{fields}\n---\n")
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n    Apache License\n   Version 2.0, January 2004\n", {"license": "Apache-2.0"}),
        ("MIT License\n\nCopyright (c) 2024 X\n", {"license": "MIT"}),
        ("# GEMMA TERMS OF USE\x1b[2J\n\nBy using", {"license.name": "GEMMA TERMS OF USE [2J"}),
        ("", {}),
    ],
)
def test_the_licence_file_speaks_where_the_card_does_not(folder: Path, text: str, expected: dict[str, str]) -> None:
    (folder / "LICENSE").write_text(text)
    found = told(folder, "# no front matter\n")
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected
    assert told(folder, "---\nlicense: isc\n---\n")["license"] == "ISC"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("[org/one, org/one, org/two]", {"count": 2, "0.name": "one", "1.name": "two"}),
        (
            "https://huggingface.co/org/one/",
            {"count": 1, "0.name": "one", "0.repo_url": "https://huggingface.co/org/one"},
        ),
        ("just-a-name", {"count": 1, "0.name": "just-a-name"}),
        ("/home/me/models/secret", {}),
        ("./out/checkpoint-5", {}),
        ("C:\\models\\x", {}),
        ("[{model: org/one}, null, 3.5]", {"count": 1, "0.name": "3.5"}),
    ],
)
def test_base_models(folder: Path, field: str, expected: dict[str, Any]) -> None:
    found = told(folder, f"---\nbase_model: {field}\n---\n")
    theirs = {key.removeprefix("base_model."): value for key, value in found.items() if key.startswith("base_model.")}
    assert expected.items() <= theirs.items() and bool(theirs) == bool(expected)


def test_no_local_path_gets_into_the_file(folder: Path) -> None:
    found = told(folder, CARD)
    assert not [key for key in found if key.endswith(("url", "link")) and not key.startswith("base_model")]
    assert str(folder.parent) not in str(found)
    relative = told(folder, CARD, source="models/private")  # looks like a Hub id, but no commit came with it
    assert "private" not in str(relative)


def test_control_characters_and_surrogates_stay_out(folder: Path) -> None:
    found = told(folder, '---\nauthor: "a\\e[31mb\\0\\u202Ec"\ntags: ["\\ud7ffx"]\n---\n')
    assert found["author"] == "a [31mb c"
    surrogate = told(folder, '---\nauthor: "a\\ud800b"\n---\n')
    assert "\ud800" not in surrogate.get("author", "")


@pytest.mark.parametrize(
    ("name", "n", "expected"),
    [
        ("Mistral-7B-Instruct-v0.3", 7.25e9, {"basename": "Mistral", "size_label": "7B", "finetune": "Instruct"}),
        ("Llama-3.2-1B", 1.24e9, {"basename": "Llama-3.2", "size_label": "1B"}),
        ("Qwen2.5-0.5b-Instruct", 494e6, {"basename": "Qwen2.5", "size_label": "0.5B", "finetune": "Instruct"}),
        ("Mixtral-8x7B-v0.1", 46.7e9, {"basename": "Mixtral", "size_label": "8x7B", "version": "v0.1"}),
        ("phi-2", 2.78e9, {"basename": "phi-2", "size_label": "2.8B"}),
        ("gpt2", 124439808, {"basename": "gpt2", "size_label": "124M"}),
        ("stories", 260032, {"basename": "stories", "size_label": "260K"}),
        ("big", 9.99e8, {"basename": "big", "size_label": "999M"}),
        ("big", 9.999e9, {"basename": "big", "size_label": "10B"}),
    ],
)
def test_names_that_follow_the_convention(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, n: float, expected: dict[str, str]
) -> None:
    from edgequant.convert.checkpoint import Checkpoint

    monkeypatch.setattr(Checkpoint, "n_parameters", property(lambda self: int(n)))
    found = told(folder, name=name)
    keys = {"basename", "size_label", "finetune"} | ({"version"} if "version" in expected else set())
    assert {key: value for key, value in found.items() if key in keys} == expected
