"""Families of chat templates, each in Jinja as it was published, and in Go as Ollama takes it.

A family is here only where both write the same for the conversations of the gate (`asked`), which the tests prove with
a renderer of their own. Ollama lacks a function that strips spaces, so Llama 3's, Gemma's and others that strip each
message cannot be among them. It joins neighbours of one role before a template sees them, and adds BOS by itself.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import child
from ...convert.vocabulary import chat_template
from ...convert.vocabulary.tokenizer import read_files
from ...verify.templates import Case, cases

_SECONDS = 120.0
_NOW = "2024-07-26T00:00:00"

_CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CHATML_GO = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"


def _chatml_with(system: str) -> tuple[str, str]:
    """ChatML of a model that has a system message of its own where none is given, in Jinja and in Go."""
    block = f"<|im_start|>system\n{system}<|im_end|>\n"
    jinja = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '"
        + block
        + "' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return jinja, f'{{{{- if ne (index .Messages 0).Role "system" }}}}{block}{{{{ end }}}}{_CHATML_GO}'


def _zephyr(end: str) -> tuple[str, str]:
    jinja = (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
        "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    )
    return (
        jinja,
        f"{{{{- range .Messages }}}}<|{{{{ .Role }}}}|>\n{{{{ .Content }}}}{end}\n{{{{ end }}}}<|assistant|>\n",
    )


_PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + "
    "'<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI_3_GO = "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|end|>\n{{ end }}<|assistant|>\n"
_PHI_4_MINI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is "
    "not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + "
    "'<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI_4_MINI_GO = "{{- range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>"


def _mistral(behind: str) -> tuple[str, str]:
    jinja = (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + '"
        + behind
        + "' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
    )
    go = (
        '{{- range .Messages }}{{ if eq .Role "user" }}[INST] {{ .Content }} [/INST]'
        f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}</s>{behind}{{{{ end }}}}{{{{ end }}}}'
    )
    return jinja, go


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row: `jinja` as published, with the special tokens that it writes, and `go`, which leaves BOS to Ollama."""

    name: str
    jinja: str
    go: str
    tokens: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes_bos(self) -> bool:
        """Whether the published template begins with BOS."""
        return "bos_token" in self.tokens


def _family(name: str, both: tuple[str, str], **tokens: str) -> Family:
    return Family(name=name, jinja=both[0], go=both[1], tokens=tokens)


FAMILIES: Sequence[Family] = (
    _family("ChatML", (_CHATML, _CHATML_GO)),
    _family(
        "ChatML with SmolLM's system message",
        _chatml_with("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    ),
    _family("ChatML with Qwen2's system message", _chatml_with("You are a helpful assistant.")),
    _family(
        "ChatML with Qwen2.5's system message",
        _chatml_with("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    ),
    _family("Zephyr", _zephyr("</s>"), eos_token="</s>"),
    _family("StableLM Zephyr", _zephyr("<|endoftext|>"), eos_token="<|endoftext|>"),
    _family("Phi-3", (_PHI_3, _PHI_3_GO), eos_token="<|endoftext|>"),
    _family("Phi-4-mini", (_PHI_4_MINI, _PHI_4_MINI_GO), eos_token="<|endoftext|>"),
    _family("Mistral 7B Instruct v0.2", _mistral(""), bos_token="<s>", eos_token="</s>"),
    _family("Mistral 7B Instruct v0.1", _mistral(" "), bos_token="<s>", eos_token="</s>"),
)


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The family that a template belongs to, None with the reason for none."""

    family: Family | None
    why: str = ""
    refuses: bool = False  # conversations with a system message, or others


def asked() -> list[Case]:
    """The gate's conversations that reach a template of Ollama's as they are: without tools, no neighbours of one role.

    All with the opening of the next answer, for Ollama always asks for one.
    """
    return [case for case in cases("") if case.add_generation_prompt and not _has_neighbours(case)]


def _has_neighbours(case: Case) -> bool:
    roles = [message["role"] for message in case.messages]
    return any(a == b for a, b in itertools.pairwise(roles))


def recognise(folder: Path) -> Recognised:
    """The family of a checkpoint's template: the one that writes the same for every conversation of `asked`."""
    if read_files(folder).chat_template is None:
        return Recognised(family=None, why="the checkpoint has no chat template")
    outcome = child.run(f"{__name__}:compare", {"folder": str(folder)}, deadline_seconds=_SECONDS)
    if outcome.status != "ok":
        return Recognised(family=None, why=f"the checkpoint's chat template could not be rendered: {outcome.note}")
    found = outcome.value
    family = next((each for each in FAMILIES if each.name == found["family"]), None)
    why = "" if family else "the checkpoint's chat template is none of those that are proven equal in Go"
    return Recognised(family=family, why=why, refuses=found["refuses"])


def compare(job: Mapping[str, Any]) -> dict[str, Any]:
    """Render the template of `job["folder"]` beside those of all families. Behind the fence: a stranger's code."""
    files = read_files(Path(job["folder"]))
    tokens = {f"{name}_token": text for name, text in files.special_tokens.items()}
    with chat_template.limited():
        theirs = rendered(files.chat_template or "", tokens)
        names = [each.name for each in FAMILIES if _is_like(each, theirs, tokens.get("bos_token", ""))]
    n_refused = sum("text" not in row for row in theirs)
    return {"family": names[0] if names and n_refused < len(theirs) else None, "refuses": n_refused > 0}


def _is_like(family: Family, theirs: Sequence[chat_template.Rendered], bos: str) -> bool:
    """Whether a family writes the same, behind its BOS if it writes one; words of a refusal do not count."""
    ours = rendered(family.jinja, family.tokens)
    own = family.tokens.get("bos_token", "")
    pairs = zip(ours, theirs, strict=True)
    return all(_behind(a, own) == _behind(b, bos if own else "") for a, b in pairs)


def _behind(row: chat_template.Rendered, bos: str) -> str | None:
    return row["text"].removeprefix(bos) if "text" in row else None


def rendered(template: str, tokens: Mapping[str, str]) -> list[chat_template.Rendered]:
    """What a Jinja template makes of every conversation of `asked`."""
    try:
        compiled = chat_template.compiled(template, now=datetime.fromisoformat(_NOW))
    except Exception as error:  # a stranger's code that does not even parse
        return [chat_template.broken(error) for _ in asked()]
    return [
        chat_template.render(compiled, case.messages, tools=None, add_generation_prompt=True, tokens=tokens)
        for case in asked()
    ]
