"""The pick on its way out: a folder, Ollama, llama.cpp's programs, onnxruntime-genai, the Hub."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import Progress
from .asked import run_folder_of
from .options import json_option, run_argument, together
from .printing import print_answer

if TYPE_CHECKING:
    from ..export.shipping.shipment import Shipment
    from ..export.shipping.written import Written
    from ..profiles.device import Device

FOLDER, OLLAMA, GENAI, HUB = "folder", "ollama", "onnxruntime-genai", "hub"
SCRIPTS = ("llama-server", "llama-cli")
TARGETS = (FOLDER, OLLAMA, *SCRIPTS, GENAI, HUB)

_target_options = together(
    click.option(
        "--to",
        "target",
        type=click.Choice(TARGETS),
        default=FOLDER,
        show_default=True,
        help="A folder with model card and sums, a Modelfile, a script, genai_config.json, or a repository.",
    ),
    click.option(
        "-o", "--out", type=click.Path(path_type=Path), help="The folder to write [RUN-FORMAT-TARGET, beside RUN]."
    ),
    click.option("--force", is_flag=True, help="Write over an earlier export."),
    click.option("--device", help="For a script: a device profile or a .toml file; see `devices` [the run's]."),
    click.option(
        "--checkpoint", type=click.Path(path_type=Path), help="Where the checkpoint lies now [where RUN found it]."
    ),
    click.option(
        "--base-model", metavar="OWNER/NAME", default="", help="What the checkpoint is called on the Hub, for the card."
    ),
)
_hub_options = together(
    click.option("--repo", metavar="OWNER/NAME", default="", help="For the Hub: the repository."),
    click.option("--upload", is_flag=True, help="For the Hub: send it; without, only show what would be sent."),
    click.option("--private", is_flag=True, help="For the Hub: make a new repository private."),
    click.option(
        "--accept-licence", is_flag=True, help="For the Hub: send it though the licence forbids it or is not known."
    ),
)


@click.command()
@run_argument
@click.argument("format_name", metavar="[FORMAT]", default="")
@_target_options
@_hub_options
@json_option
@click.pass_obj
def export(
    progress: Progress,
    /,
    run_folder: Path,
    format_name: str,
    target: str,
    out: Path | None,
    force: bool,
    device: str | None,
    checkpoint: Path | None,
    base_model: str,
    as_json: bool,
    **hub: Any,
) -> None:
    """Ship a file of RUN, or the one of FORMAT, to where it is to run; without FORMAT, the one that RUN picks."""
    from ..export.shipping.shipment import gather
    from ..export.shipping.written import check_target

    _check_words(target, out=out, device=device, **hub)
    with progress.shown() as listen:
        listen("gather", format_name, str(run_folder))
        folder = run_folder_of(progress, run_folder)
        shipment = gather(folder.path, format_name, checkpoint=checkpoint, base_model=base_model)
        if target == HUB:
            made, excerpt = _to_hub(progress, shipment, **hub)
        else:
            place = out or _beside(folder.path, shipment.format, target)
            check_target(place, force=force)
            listen("write", shipment.format, str(place))
            made, excerpt = _written(shipment, place, target, device), ""
    _print(made, excerpt, as_json=as_json, sent=hub["upload"])


def _check_words(target: str, *, out: Path | None, device: str | None, **hub: Any) -> None:
    """Refuse options that another target has."""
    if target != HUB and any(hub.values()):
        raise click.UsageError("--repo, --upload, --private and --accept-licence are for --to hub")
    if target == HUB and out:
        raise click.UsageError("-o names a folder, and --to hub writes none")
    if device and target not in SCRIPTS:
        raise click.UsageError("--device is for --to llama-server and --to llama-cli")
    if hub["upload"] and not hub["repo"]:
        raise click.UsageError("--upload wants to know where to: --repo OWNER/NAME")


def _written(shipment: "Shipment", place: Path, target: str, device: str | None) -> "Written":
    from ..export.shipping.folder import write_folder
    from ..export.shipping.genai import write_genai
    from ..export.shipping.llama_script import write_script
    from ..export.shipping.ollama import write_ollama
    from ..export.shipping.shipment import check_files

    check_files(shipment)
    if target in SCRIPTS:
        return write_script(shipment, place, program=target, device=_device(shipment, device))
    return {FOLDER: write_folder, OLLAMA: write_ollama, GENAI: write_genai}[target](shipment, place)


def _device(shipment: "Shipment", named: str | None) -> "Device":
    from ..profiles.device import load

    return load(named) if named else shipment.report.device


def _to_hub(
    progress: Progress, shipment: "Shipment", *, repo: str, upload: bool, private: bool, accept_licence: bool
) -> tuple["Written", str]:
    from ..export.shipping import hub
    from ..export.shipping.shipment import check_files

    check_files(shipment)
    if not upload:
        return hub.look(shipment, repo=repo or f"OWNER/{shipment.name}")
    made = hub.upload(
        shipment,
        repo=repo,
        private=private,
        accepts_licence=accept_licence,
        progress=lambda text: progress("upload", shipment.format, text),
    )
    return made, ""


def _beside(run_folder: Path, format_name: str, target: str) -> Path:
    path = run_folder.resolve()
    place = path.with_name(f"{path.name}-{format_name}-{target}")
    return place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place


def _print(made: "Written", excerpt: str, *, as_json: bool, sent: bool) -> None:
    from ..export.shipping import listing

    would = made.target == HUB and not sent
    head = f"Would be sent to {made.folder}" if would else f"Sent to {made.folder}" if sent else made.folder
    values = {**asdict(made), "size_bytes": made.size_bytes, "sent": sent, **({"card": excerpt} if excerpt else {})}
    print_answer(values, listing.written(made, head=head, excerpt=excerpt), as_json=as_json)
    if would and not as_json:
        click.echo("\nNothing was sent. To send it: --upload --repo OWNER/NAME")
