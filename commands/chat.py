"""A conversation with an artifact, here and now."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import Progress
from .options import json_option, together

if TYPE_CHECKING:
    from ..runtimes.talking.conversation import Answer, Conversation

USUAL_CONTEXT = 4096  # tokens, where the model takes as many
_NEW = "/new"
_ENDED = {
    "length": "--max-tokens is reached",
    "context": f"the context is full; {_NEW} begins again, --context gives more",
    "stop": "stopped",
}
_options = together(
    click.option("--prompt", help="Ask this one thing; standard output is the answer alone."),
    click.option("--system", default="", help="A system message before the conversation."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer in tokens [what the context holds]."),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        help="0 takes the likeliest token each time [what generation_config.json says, else 0].",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn at a temperature above 0."),
    click.option("--threads", type=click.IntRange(min=1), help="Threads [this machine's]."),
    click.option(
        "--context", type=click.IntRange(min=32), help=f"Context in tokens [{USUAL_CONTEXT}, or the model's]."
    ),
)


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@_options
@json_option
@click.pass_obj
def chat(progress: Progress, /, artifact: Path, prompt: str | None, as_json: bool, **options: Any) -> None:
    """Talk to ARTIFACT: a GGUF file, an ONNX folder, an export, or a run, whose pick it is then.

    Ctrl-C stops an answer, a second one or Ctrl-D ends the conversation; /new begins another.
    """
    if as_json and prompt is None:
        raise click.UsageError("--json is for one answer: --prompt TEXT")
    conversation = _opened(progress, artifact, **options)
    try:
        with progress.shown() as listen:
            listen("load", "", str(artifact))
            has_template = conversation.has_template
        if not has_template:
            _aside("This model has no chat template: it continues what you write, each time anew.")
        if prompt is None:
            _talk(conversation)
        else:
            _answer_once(conversation, prompt, as_json=as_json)
    finally:
        conversation.close()


def _opened(
    progress: Progress,
    artifact: Path,
    *,
    system: str,
    max_tokens: int | None,
    temperature: float | None,
    seed: int,
    threads: int | None,
    context: int | None,
) -> "Conversation":
    from ..export.shipping.talked_to import talked_to
    from ..profiles.device import host_device
    from ..runtimes.session import Settings
    from ..runtimes.talking.conversation import Conversation, Manner, Model
    from ..runtimes.talking.sampling import asked

    found, here = talked_to(artifact), host_device()
    tokens = context or min(USUAL_CONTEXT, found.trained_context or USUAL_CONTEXT)
    if found.trained_context and tokens > found.trained_context:
        _aside(f"The model was trained for {found.trained_context:,} tokens of context, not for {tokens:,}.")
    prefill = here.prefill_threads if found.container == "gguf" and threads is None else None
    settings = Settings(threads=threads or here.decode_threads, prefill_threads=prefill, context=tokens)
    sampling = asked(found.generation, temperature=temperature)
    return Conversation(
        Model(container=found.container, path=str(found.path), settings=settings),
        Manner(sampling=sampling, system=system, max_tokens=max_tokens, seed=seed),
        warn=_aside,
    )


def _answer_once(conversation: "Conversation", prompt: str, *, as_json: bool) -> None:
    import json

    if as_json:
        answer = conversation.ask(prompt, hear=lambda text: None)
        click.echo(json.dumps(asdict(answer), indent=1, ensure_ascii=False))
        return
    _asked(conversation, prompt)


def _talk(conversation: "Conversation") -> None:
    from .. import Error

    _aside(f"Ctrl-C stops an answer, a second one or Ctrl-D ends; {_NEW} begins again.")
    for line in _lines():
        if line == _NEW:
            conversation.begin_again()
        elif line.strip():
            try:
                _asked(conversation, line)
            except Error as error:  # the conversation outlives a question that cannot be answered
                _aside(f"edgequant: {error}" + (f" ({error.hint})" if error.hint else ""))


def _asked(conversation: "Conversation", text: str) -> None:
    """One question and its answer as it comes; why it ended stands beside it where that is worth a word."""
    is_terminal = sys.stdout.isatty()

    def hear(piece: str) -> None:
        click.echo(_harmless(piece) if is_terminal else piece, nl=False)
        sys.stdout.flush()

    answer = conversation.ask(text, hear=hear)
    click.echo()
    _say_how_it_ended(answer)


def _say_how_it_ended(answer: "Answer") -> None:
    if answer.ended in _ENDED:
        _aside(f"[{_ENDED[answer.ended]}]")


def _harmless(text: str) -> str:
    """Without characters that a terminal would obey."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable() or ord(c) > 0x9F)


def _lines() -> Iterator[str]:
    """What the user writes, line by line, to the end of the input or Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    import readline  # noqa: F401 editing and history of the line

    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return


def _aside(text: str) -> None:
    """A word beside the conversation: standard output is what the model says."""
    click.echo(text, err=True)
