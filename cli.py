"""The command line: what every command shares. Each has a file of its own in commands/; nothing else prints."""

import logging
import sys
import traceback
from typing import IO, Any

import click

from edgequant import Error, __version__
from edgequant.commands.bundle import bundle
from edgequant.commands.chat import chat
from edgequant.commands.compare import compare
from edgequant.commands.completion import completion
from edgequant.commands.convert import convert
from edgequant.commands.devices import devices
from edgequant.commands.doctor import doctor
from edgequant.commands.evaluate import evaluate
from edgequant.commands.export import export
from edgequant.commands.inspect import inspect
from edgequant.commands.pick import pick
from edgequant.commands.plan import plan
from edgequant.commands.profile import profile
from edgequant.commands.report import report
from edgequant.commands.run import run
from edgequant.commands.stopping import exit_code, farewell, stoppable
from edgequant.commands.verify import verify
from edgequant.progress import Progress

#: in the order in which a run goes through them
COMMANDS = (
    run,
    plan,
    convert,
    verify,
    profile,
    evaluate,
    report,
    pick,
    compare,
    export,
    chat,
    bundle,
    inspect,
    devices,
    doctor,
    completion,
)
_ANYWHERE = ("-q", "--quiet", "-v", "--verbose", "--debug")


class Commands(click.Group):
    """Commands in the order in which a run goes through them, and one place where an `Error` becomes one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take -q, -v and --debug wherever they stand."""
        own = args[: args.index("--")] if "--" in args else args
        flags = [word for word in own if word in _ANYWHERE]
        return super().parse_args(ctx, [*flags, *(w for w in own if w not in _ANYWHERE), *args[len(own) :]])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a bug keeps its traceback."""
        try:
            with stoppable():
                return super().invoke(ctx)
        except Error as error:
            from edgequant.report.terminal import printable  # names from a stranger's file may hold escapes

            hint = f" ({error.hint})" if error.hint else ""
            _fail(ctx, printable(f"edgequant: {error}{hint}"))
        except BrokenPipeError:  # whoever read the answer has enough: Click ends quietly
            raise
        except OSError as error:  # a full disk, a file that may not be read
            _fail(ctx, f"edgequant: {error.strerror or error}: {error.filename or 'no file named'}")
        except KeyboardInterrupt as stop:
            click.echo(farewell(is_kept=isinstance(ctx.obj, Progress) and ctx.obj.is_kept), err=True)
            ctx.exit(exit_code(stop))


def _fail(ctx: click.Context, line: str) -> None:
    """End with one line; with --debug where it came from before that."""
    if ctx.params.get("debug"):
        click.echo(traceback.format_exc(), err=True)
    click.echo(line, err=True)
    ctx.exit(1)


class _Log(logging.StreamHandler[IO[str]]):
    """Writes to whatever standard error is at the time: a table that is being drawn there makes room."""

    @property
    def stream(self) -> IO[str]:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: IO[str]) -> None:
        """Never another."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgequant")
@click.option("--quiet", "-q", is_flag=True, help="Print the answer alone, no progress.")
@click.option("--verbose", "-v", is_flag=True, help="Print each step on a line of its own, with times.")
@click.option("--debug", is_flag=True, help="Where something fails print traceback and log, too; implies -v.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, verbose: bool, debug: bool) -> None:
    """Pick a quant level: convert a checkpoint, measure every variant, say which file to ship."""
    ctx.obj = Progress(quiet=quiet, verbose=verbose or debug)
    level = logging.INFO if verbose or debug else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[_Log()])


for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="edgequant")
