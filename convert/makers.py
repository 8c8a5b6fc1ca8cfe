"""What makes a format, and out of what: the function that a child runs, and the packages that decide the result."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

from .. import Error, __version__
from . import peer_converter
from .checkpoint import Checkpoint
from .formats import FORMATS, Format
from .fused.expressible import obstacle


@dataclass(frozen=True, kw_only=True)
class Maker:
    """`entry` names the function as `child.run` takes it."""

    entry: str
    packages: tuple[str, ...]


WRITE_GGUF = Maker(entry="edgequant.convert.gguf_write:write", packages=("gguf",))
QUANTISE_GGUF = Maker(entry="edgequant.convert.gguf_quantise:quantise", packages=("llama-cpp-python",))
PEER_GGUF = Maker(entry="edgequant.convert.peer_converter:write", packages=("gguf", "torch", "transformers"))
WRITE_FUSED = Maker(entry="edgequant.convert.fused.write:write", packages=("onnx", "onnxruntime"))
EXPORT_ONNX = Maker(entry="edgequant.convert.onnx_export:export", packages=("optimum-onnx", "torch", "transformers"))
QUANTISE_ONNX = Maker(entry="edgequant.convert.onnx_quantise:quantise", packages=("onnxruntime",))


def source_of(checkpoint: Checkpoint, fmt: Format) -> Format | None:
    """The format that this one is made from; None where that is the checkpoint."""
    if fmt.made_from not in FORMATS or (fmt.container == "onnx" and not obstacle(checkpoint)):
        return None
    return FORMATS[fmt.made_from]


def maker_of(checkpoint: Checkpoint, fmt: Format) -> Maker:
    """What makes this format of this checkpoint."""
    source = source_of(checkpoint, fmt)
    if fmt.container == "gguf":
        if source:
            return QUANTISE_GGUF
        return PEER_GGUF if checkpoint.converter else WRITE_GGUF
    if not obstacle(checkpoint):
        return WRITE_FUSED
    return QUANTISE_ONNX if source else EXPORT_ONNX


def check(checkpoint: Checkpoint, fmt: Format) -> None:
    """Raise `Error` for a format that nothing makes of this checkpoint."""
    if fmt.needs_fused and (why := obstacle(checkpoint)):
        raise Error(f"{fmt.name} cannot be made: {why}", hint="onnx-int8 and onnx-int8-dynamic can, by Optimum")


def with_sources(checkpoint: Checkpoint, formats: Sequence[Format], *, bf16_for_f16: bool = False) -> list[Format]:
    """The formats with those that they are made from, each after its source; `bf16_for_f16` where F16 cannot be."""
    wanted: dict[str, Format] = {}
    made: set[str] = set()
    for fmt in formats:
        source = source_of(checkpoint, fmt)
        if source:
            source = FORMATS["BF16"] if bf16_for_f16 and source.name == "F16" else source
            wanted.setdefault(source.name, source)
            made.add(fmt.name)
        wanted[fmt.name] = fmt
    return sorted(wanted.values(), key=lambda fmt: fmt.name in made)


def made_by(checkpoint: Checkpoint, fmt: Format) -> dict[str, str]:
    """Package -> version, of all that decides the bytes of an artifact."""
    made = {"edgequant": __version__, **{name: _version(name) for name in maker_of(checkpoint, fmt).packages}}
    if checkpoint.converter and fmt.container == "gguf":
        made[peer_converter.SCRIPT] = checkpoint.converter.version
    return made


def _version(package: str) -> str:
    """A package's version, "" where it is not installed: an artifact may come from another machine."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
