"""Rendering a chat template, a stranger's code: sandboxed, as transformers does it, and within limits.

The sandbox keeps a template from the system, and from nothing else: nested loops run for ever, and one multiplication
fills the memory. So the process that renders is given a time after which the system kills it, and a ceiling for its
memory; and the output is counted while it is made.
"""

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ... import Error

if TYPE_CHECKING:
    from jinja2 import Template

DEADLINE_SECONDS = 5.0  # for all conversations of a template together
MOST_CHARACTERS = 2**20
_MOST_SAID = 300
_ROOM_BYTES = 2**28  # of memory beside what the process holds before it renders

#: {"text": ...}, or {"refused": its words} where the template raises, {"failed": why} where it breaks
Rendered = dict[str, str]


@contextmanager
def limited() -> Iterator[None]:
    """Let the system kill this process (SIGALRM) once the deadline is over, and refuse it memory: only in a child.

    A handler in Python would wait for the operation under way, which may be the very one that does not end.
    """
    with _memory_limited():
        if not hasattr(signal, "setitimer"):  # Windows: the child's own deadline, which also counts its start, remains
            yield
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _memory_limited() -> Iterator[None]:
    try:
        import resource
    except ImportError:
        yield
        return
    import psutil

    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = getattr(psutil.Process().memory_info(), "data", 0)
    if held:
        resource.setrlimit(resource.RLIMIT_DATA, (held + _ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def compiled(template: str, *, now: datetime) -> "Template":
    """The template with what transformers gives it: `raise_exception`, `strftime_now`, `tojson`, {% generation %}."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """transformers marks what the assistant says by a block; it changes nothing of the text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda format: now.strftime(format)
    return environment.from_string(template)


def render(
    template: "Template",
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None,
    add_generation_prompt: bool,
    tokens: Mapping[str, str],
) -> Rendered:
    """One conversation; `tokens` are "bos_token" and the like. `Error` for more than `MOST_CHARACTERS`."""
    parts, n_characters = [], 0
    try:
        for part in template.generate(
            messages=messages, tools=tools, documents=None, add_generation_prompt=add_generation_prompt, **tokens
        ):
            n_characters += len(part)
            if n_characters > MOST_CHARACTERS:
                raise Error(f"the chat template writes more than {MOST_CHARACTERS:,} characters")
            parts.append(part)
    except (Error, MemoryError):
        raise
    except Exception as error:  # what a stranger's code raises is its own failure
        return broken(error)
    return {"text": "".join(parts)}


def broken(error: Exception) -> Rendered:
    """What is said of a conversation that a template did not render: by its own `raise_exception`, or by a mistake."""
    from jinja2.exceptions import TemplateError

    if type(error) is TemplateError:
        return {"refused": str(error)[:_MOST_SAID]}
    return {"failed": f"{type(error).__name__}: {error}"[:_MOST_SAID]}
