"""The chat template's part of the gate: the text that transformers makes of each conversation."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import child
from ..convert import llama_vocabulary
from ..convert.vocabulary import chat_template
from ..convert.vocabulary.chat_template import Rendered
from . import by_transformers, stored
from .finding import FAILED, PASSED, WARNING, Finding
from .tokens import parting, shown

Progress = Callable[[str], None]

FILE = Path(__file__).with_name("conversations.json")
_ANSWERED = 3  # the conversation of the file that ends with an answer
_START_SECONDS = 300.0  # importing transformers from a slow card; the deadline of the rendering itself is the child's
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city, as its people write it"},
                    "days": {"type": "integer", "description": "How many days ahead"},
                },
                "required": ["city"],
            },
        },
    },
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One conversation and whether the opening of the next answer is to follow."""

    name: str
    messages: Sequence[Mapping[str, Any]]
    tools: bool
    add_generation_prompt: bool


def cases(template: str) -> list[Case]:
    """Every conversation, with and without the opening of an answer; those with tools where the template takes any."""
    return [
        Case(
            name=f"{row['name']}, {'with' if opened else 'without'} the opening of an answer",
            messages=row["messages"],
            tools=bool(row.get("tools")),
            add_generation_prompt=opened,
        )
        for row in json.loads(FILE.read_text(encoding="utf-8"))
        for opened in (True, False)
        if not row.get("tools") or "tools" in template
    ]


def render_checkpoint(job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What the checkpoint's templates make of the cases: "by", "bos" (its text), "rendered" name -> case by case.

    transformers renders them where it is installed, and otherwise the renderer here. `job["now"]` is the time that
    templates are told. Behind the fence: a template that does not end has the process killed by SIGALRM.
    """
    folder, now = Path(job["folder"]), datetime.fromisoformat(job["now"])
    tokenizer = by_transformers.load(folder)
    found = by_transformers.said_by(folder, tokenizer)
    rendered: dict[str, list[Rendered]] = {}
    with chat_template.limited():
        for name, text in found.templates.items():
            if tokenizer is None:
                rendered[name] = list(_render_all(name, text, found.tokens, now, progress))
            else:
                rendered[name] = list(_render_by_transformers(tokenizer, name, text, now, progress))
    return {"by": _renderer(tokenizer), "bos": found.tokens.get("bos_token", ""), "rendered": rendered}


def render_artifact(job: Mapping[str, Any], progress: Progress) -> dict[str, list[Rendered]]:
    """What the templates stored in the artifact make of the cases of the checkpoint's; limits as above."""
    theirs, path = stored.of_folder(Path(job["folder"])).templates, Path(job["path"])
    ours = (
        stored.of_gguf(path)
        if job["container"] == "gguf"
        else by_transformers.said_by(path, by_transformers.load(path))
    )
    now = datetime.fromisoformat(job["now"])
    with chat_template.limited():
        return {
            name: list(_render_all(name, text, ours.tokens, now, progress, asked=theirs[name]))
            for name, text in ours.templates.items()
            if name in theirs
        }


def render_built_in(job: Mapping[str, Any]) -> list[str | None]:
    """What llama.cpp's own `llama_chat_apply_template` makes of the cases without tools; None where it knows none."""
    text = stored.of_gguf(Path(job["path"])).templates[stored.DEFAULT]
    return [
        llama_vocabulary.apply_built_in_template(
            text, [dict(message) for message in case.messages], add_generation_prompt=case.add_generation_prompt
        )
        for case in cases(text)
        if not case.tools
    ]


def _render_all(
    name: str, text: str, tokens: Mapping[str, str], now: datetime, progress: Progress, *, asked: str = ""
) -> Iterator[Rendered]:
    try:
        template = chat_template.compiled(text, now=now)
    except Exception as error:  # a stranger's code that does not even parse
        yield from ({"case": case.name, **chat_template.broken(error)} for case in cases(asked or text))
        return
    for case in cases(asked or text):
        progress(f"{name}: {case.name}")
        said = chat_template.render(
            template,
            case.messages,
            tools=TOOLS if case.tools else None,
            add_generation_prompt=case.add_generation_prompt,
            tokens=tokens,
        )
        yield {"case": case.name, **said}


def _render_by_transformers(
    tokenizer: Any, name: str, text: str, now: datetime, progress: Progress
) -> Iterator[Rendered]:
    for case in cases(text):
        progress(f"{name}: {case.name}")
        try:
            said = tokenizer.apply_chat_template(
                [dict(message) for message in case.messages],
                tools=list(TOOLS) if case.tools else None,
                chat_template=None if name == stored.DEFAULT else text,
                add_generation_prompt=case.add_generation_prompt,
                tokenize=False,
                strftime_now=now.strftime,
            )
            yield {"case": case.name, "text": said}
        except MemoryError:
            raise
        except Exception as error:  # what a stranger's code raises is its own failure
            yield {"case": case.name, **chat_template.broken(error)}


def _renderer(tokenizer: Any) -> str:
    if tokenizer is None:
        return "the project's own renderer, for transformers is not there"
    import transformers

    return f"transformers {transformers.__version__}"


def failure(outcome: child.Outcome, *, whose: str, last: str) -> Finding:
    """A child that rendered and did not come back: a template that hangs, bursts or breaks the process."""
    if outcome.signal == "SIGALRM" or outcome.status == "timeout":
        said = f"{whose} template did not finish within {chat_template.DEADLINE_SECONDS:.0f} seconds ({last})"
    elif outcome.status == "oom":
        said = f"{whose} template takes too much memory ({last})"
    else:
        said = f"{whose} template: {outcome.note}"
    return Finding(verdict=FAILED, said=said)


def compare(
    theirs: Mapping[str, Any], ours: Mapping[str, Sequence[Rendered]], built_in: Sequence[str | None] | None
) -> Finding:
    """The finding from both sides' texts; `built_in` is llama.cpp's, None where there is no llama.cpp to ask.

    A conversation that both refuse counts as equal.
    """
    every = [row for rows in theirs["rendered"].values() for row in rows]
    differences = [said for name, rows in theirs["rendered"].items() for said in _differences(name, rows, ours)]
    samples = tuple(float(not said) for said in differences)
    wrong = [said for said in differences if said]
    if wrong:
        others = f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
        return Finding(verdict=FAILED, said=wrong[0] + others, samples=samples)
    n_refused = sum("text" not in row for row in every)
    if n_refused == len(every):
        return Finding(verdict=FAILED, said=f"no conversation renders: {_why(every[0])}", samples=samples)
    refused = f", {n_refused} of them refused by both" if n_refused else ""
    said = f"{len(every)} renderings as {theirs['by']} makes them{refused}"
    warning = _built_in_warning(theirs, built_in)
    verdict, end = (WARNING, f"; {warning}") if warning else (PASSED, "")
    return Finding(verdict=verdict, said=said + end, samples=samples)


def _differences(name: str, expected: Sequence[Rendered], ours: Mapping[str, Sequence[Rendered]]) -> list[str]:
    """What differs, case by case; "" for nothing."""
    if name not in ours:
        return [f"the artifact lacks the template {name!r}" for _ in expected]
    said = [_difference(a, b) for a, b in zip(expected, ours[name], strict=True)]
    return [text and f"{row['case']}: {text}" for row, text in zip(expected, said, strict=True)]


def _difference(expected: Rendered, ours: Rendered) -> str:
    if "text" in expected and "text" in ours:
        return _where(ours["text"], expected["text"])
    if "text" in expected:
        return f"not rendered ({_why(ours)})"
    return f"rendered, though the checkpoint's does not ({_why(expected)})" if "text" in ours else ""


def _why(row: Rendered) -> str:
    return row.get("refused") or row.get("failed") or "no reason given"


def _where(ours: str, expected: str) -> str:
    if ours == expected:
        return ""
    at = parting(ours, expected)
    start = max(0, at - 10)
    return f"{shown(ours[start : at + 30])} instead of {shown(expected[start : at + 30])} at character {at}"


def _built_in_warning(theirs: Mapping[str, Any], built_in: Sequence[str | None] | None) -> str:
    """What programs that go by `llama_chat_apply_template` would do otherwise, "" for nothing.

    A BOS that the template writes is no difference: those programs let the tokenizer add it.
    """
    if built_in is None:
        return ""
    function = "llama.cpp's built-in llama_chat_apply_template"
    if all(text is None for text in built_in):
        return f"{function} does not know this template (llama.cpp's Jinja engine is another matter)"
    plain = {case.name for case in cases("")}
    expected = [row for row in theirs["rendered"][stored.DEFAULT] if row["case"] in plain]
    for row, ours in zip(expected, built_in, strict=True):
        if "text" in row and ours is not None and ours != row["text"].removeprefix(theirs["bos"]):
            return f"{function} differs, {row['case']}: {_where(ours, row['text'])}"
    return ""


class Templates:
    """The template check of one checkpoint: its own renderings are made once."""

    def __init__(self, folder: Path) -> None:
        self._job = {"folder": str(folder), "now": datetime.now().isoformat(timespec="seconds")}
        self._theirs: child.Outcome | Finding | None = None

    def check(self, container: str, path: str) -> Finding:
        """Render both sides, each in a child of its own, and compare."""
        if self._theirs is None:
            self._theirs = self._run("render_checkpoint", {}, whose="the checkpoint's")
        if isinstance(self._theirs, Finding):
            return self._theirs
        theirs = self._theirs.value
        if not theirs["rendered"]:
            return self._none(container, Path(path))
        ours = self._run("render_artifact", {"container": container, "path": path}, whose="the artifact's")
        if isinstance(ours, Finding):
            return ours
        built_in = None
        if container == "gguf" and stored.DEFAULT in ours.value:
            asked = child.run(f"{__name__}:render_built_in", {"path": path}, deadline_seconds=_START_SECONDS)
            built_in = asked.value if asked.status == "ok" else None
        return compare(theirs, ours.value, built_in)

    def end_of_answer(self) -> str:
        """What the checkpoint's default template writes behind an answer; "" where it has none or does not end."""
        if not isinstance(self._theirs, child.Outcome):
            return ""
        rows = self._theirs.value["rendered"].get(stored.DEFAULT, [])
        answer = json.loads(FILE.read_text(encoding="utf-8"))[_ANSWERED]["messages"][-1]["content"]
        texts = [row.get("text", "") for row in rows if row["case"] == cases("")[2 * _ANSWERED + 1].name]
        return texts[0].rpartition(answer)[2] if texts and answer in texts[0] else ""

    def _none(self, container: str, path: Path) -> Finding:
        ours = stored.of_gguf(path) if container == "gguf" else stored.of_folder(path)
        if ours.templates:
            return Finding(verdict=FAILED, said="the artifact has a chat template, the checkpoint has none")
        return Finding(verdict=PASSED, said="none, as in the checkpoint")

    def _run(self, function: str, more: Mapping[str, Any], *, whose: str) -> child.Outcome | Finding:
        last = ["before the first conversation"]
        outcome = child.run(
            f"{__name__}:{function}", {**self._job, **more}, deadline_seconds=_START_SECONDS, progress=last.append
        )
        return outcome if outcome.status == "ok" else failure(outcome, whose=whose, last=last[-1])
