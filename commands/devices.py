"""The device profiles."""

from dataclasses import asdict

import click

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
    print_answer(asdict(found), device_listing.device(found), as_json=as_json)
