"""`folder`: everything that somebody needs who gets these files and nothing else."""

import shlex
from pathlib import Path

from ...convert.vocabulary.tokenizer import read_files
from ..tokenizer_files import tokenizer_files
from .card import card, front_matter, licence_in
from .shipment import Shipment
from .written import Files, Written, with_sums, write

CARD, TEMPLATE, TOKENIZER = "README.md", "chat_template.jinja", "tokenizer"


def write_folder(shipment: Shipment, folder: Path, *, target: str = "folder") -> Written:
    """The artifact, its tokenizer and chat template, the licence, a model card and SHA256SUMS."""
    files = contents(shipment)
    sizes = write(shipment, folder, files, target=target)
    start = shipment.main_file if shipment.artifact.container == "gguf" else ""
    return Written(
        target=target,
        format=shipment.format,
        folder=str(folder),
        files=sizes,
        notes=notes(shipment),
        next_steps=(f"edgequant chat {shlex.quote(str(folder / start))}",),
    )


def contents(shipment: Shipment) -> Files:
    """Name -> where it lies, or what is to be written."""
    copied: dict[str, Path | bytes] = {**shipment.files(), **_tokenizer(shipment), **licence_files(shipment)}
    sizes = {name: len(each) if isinstance(each, bytes) else each.stat().st_size for name, each in copied.items()}
    text = card(shipment, sizes).encode(errors="backslashreplace")  # half a surrogate pair is no text
    return with_sums({**copied, CARD: text})


def licence_files(shipment: Shipment) -> dict[str, Path]:
    """The texts that the licence asks to be handed on."""
    return {file.name: file for file in licence_in(shipment).files}


def notes(shipment: Shipment) -> tuple[str, ...]:
    """What the card cannot say, for nobody knows it here."""
    fields = front_matter(shipment)
    lacking = []
    if "base_model" not in fields:
        lacking.append("the card names no base_model: nobody says which model on the Hub this is (--base-model)")
    if "license" not in fields:
        lacking.append("the card names no licence: the checkpoint has none")
    return tuple(lacking)


def _tokenizer(shipment: Shipment) -> dict[str, bytes]:
    """In a folder of its own beside a GGUF, which has all of it inside; in an ONNX folder only what is missing."""
    folder = shipment.origin.checkpoint.path
    files = tokenizer_files(folder)
    template = read_files(folder).chat_template
    if template is not None and TEMPLATE not in files:
        files[TEMPLATE] = template.encode()
    if shipment.artifact.container == "gguf":
        return {f"{TOKENIZER}/{name}": content for name, content in files.items()}
    return {name: content for name, content in files.items() if name not in shipment.files()}
