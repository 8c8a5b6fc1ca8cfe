"""The device profiles."""

from dataclasses import asdict

import click

from .options import json_option
from .printing import print_answer


@click.command()
@click.argument("name", required=False)
@json_option
def devices(name: str | None, as_json: bool) -> None:
    """List the device profiles, or show one."""
    from ..profiles import device
    from ..report import listings

    found = [device.load(each) for each in ([name] if name else device.names())]
    shown = listings.device(found[0]) if name else listings.devices(found)
    print_answer([asdict(each) for each in found], shown, as_json=as_json)
