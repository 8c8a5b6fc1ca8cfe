"""Chat templates in the gate: what hangs or bursts is stopped, what is refused on both sides is equal."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant import Error, child
from edgequant.convert.vocabulary import chat_template
from edgequant.verify import stored
from edgequant.verify.finding import FAILED, PASSED, WARNING
from edgequant.verify.templates import Templates, cases, compare

NOW = datetime(2026, 11, 25, 13, 5, 9)
LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
OUTPUT = "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}"
MEMORY = "{% set x = 'a' * 10000000000 %}{{ x | length }}"
NUMBER = "{{ 9 ** (9 ** 9) }}"


def check(tmp_path: Path, theirs: str, ours: str) -> tuple[str, str]:
    """Verdict and words of the gate on two folders that differ in their template alone."""
    folder = small_checkpoint.write(tmp_path / "model")
    other = Path(shutil.copytree(folder, tmp_path / "onnx"))
    for path, template in ((folder, theirs), (other, ours)):
        small_checkpoint.change_json(path / "tokenizer_config.json", chat_template=template)
    found = Templates(folder).check("onnx", str(other))
    return found.verdict, found.said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        pytest.param(OUTPUT, "writes more than 1,048,576 characters", marks=pytest.mark.slow),
        (MEMORY, "takes too much memory"),
        pytest.param(LOOPS, "did not finish within 5 seconds", marks=pytest.mark.slow),
        pytest.param(NUMBER, "did not finish within 5 seconds", marks=pytest.mark.slow),
    ],
    ids=["output", "memory", "loops", "number"],
)
def test_a_bomb_in_the_artifact_is_stopped(tmp_path: Path, bomb: str, said: str) -> None:
    verdict, words = check(tmp_path, small_checkpoint.TEMPLATE, bomb)
    assert verdict == FAILED and said in words  # the sandbox alone would take hours


@pytest.mark.slow
def test_a_bomb_in_the_checkpoint_is_stopped_too(tmp_path: Path) -> None:
    verdict, words = check(tmp_path, LOOPS, small_checkpoint.TEMPLATE)
    assert verdict == FAILED
    assert "the checkpoint's template did not finish within 5 seconds (default: one question" in words


#: the checkpoint's template, the artifact's, the verdict, words of it
PAIRS = [
    (
        "{{ strftime_now('%Y') }}{{ messages | tojson }}",
        "{{ strftime_now('%Y') }}{{ messages | tojson }}",
        PASSED,
        "",
    ),
    ("{{ tools | tojson(indent=4) }}é", "{{ tools | tojson(indent=4) }}é", PASSED, ""),
    ("{{ tools | tojson(indent=4) }}", "{{ tools | tojson(indent=2) }}", FAILED, "instead of"),
    ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "{{ messages[0].content }}", PASSED, ""),
    ("{{ bos_token }}{{ messages[0].content }}", "{{ bos_token }}{{ messages[-1].content }}", FAILED, "instead of"),
    ("{{ raise_exception('never') }}", "{{ raise_exception('never') }}", FAILED, "no conversation renders"),
    (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}x",
        PASSED,
        "of them refused by both",
    ),
    (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x",
        "x",
        FAILED,
        "rendered, though the checkpoint's does not (no system)",
    ),
    ("{% if tools %}{{ tools | length }}{% endif %}x", "x", FAILED, "tools on offer"),
]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides of all pairs, as templates of many names in one folder: a process for each side."""
    folder = small_checkpoint.write(tmp_path_factory.mktemp("pairs") / "model")
    other = Path(shutil.copytree(folder, folder.with_name("onnx")))
    for path, side in ((folder, 0), (other, 1)):
        named = [{"name": f"n{n}", "template": pair[side]} for n, pair in enumerate(PAIRS)]
        small_checkpoint.change_json(path / "tokenizer_config.json", chat_template=named)
    made = Templates(folder)
    theirs = made._run("render_checkpoint", {}, whose="")
    ours = made._run("render_artifact", {"container": "onnx", "path": str(other)}, whose="")
    assert isinstance(theirs, child.Outcome) and isinstance(ours, child.Outcome), (theirs, ours)
    return theirs.value, ours.value


@pytest.mark.parametrize("n", range(len(PAIRS)))
def test_equal_and_unequal_templates(rendered: tuple[dict[str, Any], dict[str, Any]], n: int) -> None:
    (theirs, ours), (_, _, verdict, said) = rendered, PAIRS[n]
    found = compare({**theirs, "rendered": {f"n{n}": theirs["rendered"][f"n{n}"]}}, ours, None)
    assert found.verdict == verdict and said in found.said, found.said


@pytest.mark.slow
def test_named_templates_are_compared_each(tmp_path: Path) -> None:
    folder = small_checkpoint.write(tmp_path / "model")
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    small_checkpoint.change_json(folder / "tokenizer_config.json", chat_template=named)
    other = Path(shutil.copytree(folder, tmp_path / "onnx"))
    assert Templates(folder).check("onnx", str(other)).verdict == PASSED
    small_checkpoint.change_json(other / "tokenizer_config.json", chat_template=named[:1])
    assert "lacks the template 'tool_use'" in Templates(folder).check("onnx", str(other)).said


def test_what_llama_cpp_would_write_otherwise_is_a_warning() -> None:
    rows = [{"case": case.name, "text": f"<s>{case.name}"} for case in cases("")]
    theirs = {"by": "x", "bos": "<s>", "rendered": {stored.DEFAULT: rows}}
    same = [case.name for case in cases("")]  # llama.cpp leaves BOS to the tokenizer
    assert compare(theirs, {stored.DEFAULT: rows}, same).verdict == PASSED
    found = compare(theirs, {stored.DEFAULT: rows}, ["other", *same[1:]])
    assert found.verdict == WARNING and "llama_chat_apply_template differs, one question" in found.said
    unknown = compare(theirs, {stored.DEFAULT: rows}, [None] * len(same))
    assert unknown.verdict == WARNING and "does not know this template" in unknown.said


def test_the_time_a_template_is_told_and_its_marks() -> None:
    template = chat_template.compiled("{{ strftime_now('%d %b %Y') }} {{ {'b': 'é<', 'a': 1} | tojson }}", now=NOW)
    said = chat_template.render(template, [], tools=None, add_generation_prompt=False, tokens={})
    assert said == {"text": '25 Nov 2026 {"b": "é<", "a": 1}'}


def test_output_is_counted_while_it_is_made() -> None:
    template = chat_template.compiled(OUTPUT, now=NOW)
    with pytest.raises(Error, match="more than"):
        chat_template.render(template, [], tools=None, add_generation_prompt=False, tokens={})
