"""The device profiles, and measuring this machine for one of its own."""

from dataclasses import asdict

import click

from ..progress import Progress
from .options import json_option
from .printing import print_answer


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(ctx: click.Context, as_json: bool) -> None:
    """List the device profiles, show one, or measure this machine."""
    if ctx.invoked_subcommand:
        return
    from ..profiles import device
    from ..report import device_listing

    found = [device.load(each) for each in device.names()]
    print_answer([asdict(each) for each in found], device_listing.devices(found), as_json=as_json)


@devices.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one profile, each figure with its source; NAME may be the path of a .toml file."""
    from ..profiles import device
    from ..report import device_listing

    found = device.load(name)
    values = {**asdict(found), "sources": device.sources(name)}
    print_answer(values, device_listing.device(found, name), as_json=as_json)


@devices.command()
@click.option("--save", is_flag=True, help="Keep it as the profile of this machine, for plans and runs.")
@click.option("--quick", is_flag=True, help="Memory and disk alone: seconds instead of a minute or two.")
@click.option(
    "--anyway",
    is_flag=True,
    help="With --save: keep it also where other programs disturbed it, or what is kept is of more threads.",
)
@json_option
@click.pass_obj
def probe(progress: Progress, /, save: bool, quick: bool, anyway: bool, as_json: bool) -> None:
    """Measure this machine: cores, limits, memory, disk, and each kernel of both engines.

    What other programs disturbed is shown, and not kept unless you say --anyway.
    """
    from .. import Error
    from ..profiles.probing import probe
    from ..report import device_listing

    with progress.shown() as listen:
        found = probe.probe(progress=lambda text: listen("probe", "this machine", text), kernels=not quick)
    doubt = probe.doubt(found) if save and not anyway else ""
    kept = str(probe.save(found)) if save and not doubt else ""
    values = {**found.to_json(), "saved": kept}
    print_answer(values, device_listing.probed(found, saved_to=kept if save else None), as_json=as_json)
    if doubt:
        raise Error(f"not kept: {doubt}", hint="measure again once that is over, or keep it all the same: --anyway")
