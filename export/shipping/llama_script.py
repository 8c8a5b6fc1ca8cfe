"""`llama-server` and `llama-cli`: a script that starts llama.cpp's own program with the settings for a device."""

import shlex
from pathlib import Path

from ... import Error
from ...profiles.device import THIS_MACHINE, Device
from .comments import comment
from .folder import licence_files
from .llama_settings import Fit, Setting, settings
from .shipment import Shipment
from .written import Files, Written, write

#: what one of the two needs beside what both take
_OWN: dict[str, tuple[Setting, ...]] = {
    "llama-server": (
        Setting(
            words=("--parallel", "1"),
            why="one conversation at a time, which has the whole context; for two: --parallel 2 and twice the context",
        ),
    ),
    "llama-cli": (),
}
_HEAD = """\
#!/bin/sh
{about}
# Words that follow this command count more than those in here. The program is
# looked for by its name, unless {variable} says where it is.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)"""


def write_script(shipment: Shipment, folder: Path, *, program: str, device: Device) -> Written:
    """The file and `PROGRAM.sh`. `Error` for ONNX, and for a device that cannot hold the model."""
    if shipment.artifact.container != "gguf":
        raise Error(f"{program} runs GGUF files, and {shipment.format} is ONNX", hint="name a GGUF format")
    chosen, fit = settings(shipment, device)
    name = f"{program}.sh"
    text = script(shipment, device, program, [*chosen, *_OWN[program]])
    files: Files = {name: text.encode(errors="backslashreplace"), **shipment.files(), **licence_files(shipment)}
    sizes = write(shipment, folder, files, target=program, executable=name)
    return Written(
        target=program,
        format=shipment.format,
        folder=str(folder),
        files=sizes,
        notes=_notes(fit, device),
        next_steps=(shlex.quote(str(folder / name)),),
    )


def script(shipment: Shipment, device: Device, program: str, chosen: list[Setting]) -> str:
    """The script's text. Every setting is put before the words that the user adds, so that those count."""
    variable = program.replace("-", "_").upper()
    here = device.title.removeprefix(THIS_MACHINE)
    about = f"{program} with {shipment.artifact.checkpoint}, {shipment.format}, for {here}, by edgequant"
    blocks = [_HEAD.format(about="\n".join(comment(about)), variable=variable)]
    for setting in reversed(chosen):
        words = shlex.join(setting.words)
        blocks.append("\n".join([*comment(setting.why), f'set -- {words} "$@"']))
    model = f'"$here"/{shlex.quote(shipment.main_file)}'
    blocks.append(f'exec "${{{variable}:-{program}}}" --model {model} "$@"')
    return "\n\n".join(blocks) + "\n"


def _notes(fit: Fit, device: Device) -> tuple[str, ...]:
    if fit.fits:
        return ()
    return (f"it is predicted not to fit {device.name} at any context: {fit.why}",)
