"""Completion for shells."""

import click
from click.shell_completion import get_completion_class

PROGRAM, VARIABLE = "edgequant", "_EDGEQUANT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print what makes SHELL complete commands, options, formats, devices and tasks.

    \b
    bash, in ~/.bashrc:                 eval "$(edgequant completion bash)"
    zsh, in ~/.zshrc after compinit:    eval "$(edgequant completion zsh)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
