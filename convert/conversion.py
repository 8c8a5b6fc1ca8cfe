"""Making artifacts: each format from what it is made from, in a child process, and explained by a manifest."""

import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__, child
from . import ladder
from .architectures import layout, rope
from .architectures.geometry import geometry
from .architectures.table import find
from .artifact import Artifact, digest_of, manifest_path, read_manifest, size_of, write_manifest
from .atomic import discard
from .checkpoint import Checkpoint
from .formats import FORMATS, Format
from .inspection import Contents, inspect_gguf, inspect_onnx

_MAKERS = {  # what writes a format -> the packages that decide the result
    "edgequant.convert.gguf_write:write": ("gguf",),
    "edgequant.convert.gguf_quantise:quantise": ("llama-cpp-python",),
    "edgequant.convert.onnx_export:export": ("optimum-onnx", "torch", "transformers"),
    "edgequant.convert.onnx_quantise:quantise_dynamic": ("onnxruntime",),
}


def with_sources(formats: Sequence[Format]) -> list[Format]:
    """The formats with those that they are made from, each after its source."""
    wanted: dict[str, Format] = {}
    for fmt in formats:
        if fmt.made_from in FORMATS:
            wanted.setdefault(fmt.made_from, FORMATS[fmt.made_from])
        wanted[fmt.name] = fmt
    return sorted(wanted.values(), key=lambda fmt: fmt.made_from in FORMATS)


def artifact_path(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Path:
    """Where an artifact lies: NAME-FORMAT.gguf, or a folder NAME-FORMAT for ONNX."""
    return folder / (f"{checkpoint.name}-{fmt.name}" + (".gguf" if fmt.container == "gguf" else ""))


def recorded(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Artifact | None:
    """The artifact that was made in `folder` from these weights by these versions, whether or not its files remain."""
    path = artifact_path(checkpoint, fmt, folder)
    if not manifest_path(path).exists():
        return None
    artifact = read_manifest(path)
    same = artifact.checkpoint_revision == checkpoint.revision and dict(artifact.made_by) == _made_by(_entry(fmt))
    return artifact if same else None


def existing(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Artifact | None:
    """The artifact in `folder`, if it was made from these weights by these versions and is still whole."""
    artifact = recorded(checkpoint, fmt, folder)
    if artifact is None or not Path(artifact.path).exists():
        return None
    return artifact if artifact.size_bytes == size_of(Path(artifact.path)) else None


def convert(
    checkpoint: Checkpoint, fmt: Format, *, folder: Path, threads: int, progress: child.Progress | None = None
) -> Artifact:
    """Make one artifact from the checkpoint, or from its source format, which must be in `folder` already.

    An artifact that is there and still fits is returned as it is. Raises `Error` where the conversion fails; then
    nothing is left behind.
    """
    found = existing(checkpoint, fmt, folder)
    if found:
        return found
    path = artifact_path(checkpoint, fmt, folder)
    manifest_path(path).unlink(missing_ok=True)
    entry = _entry(fmt)
    outcome = child.run(entry, _job(checkpoint, fmt, folder, threads), progress=progress)
    if outcome.status != "ok":
        discard(path)
    outcome.unwrap()
    if fmt.container == "onnx":
        _copy_tokenizer(checkpoint, path)
    contents = _contents(fmt, path)
    artifact = Artifact(
        checkpoint=checkpoint.name,
        checkpoint_revision=checkpoint.revision,
        format=fmt.name,
        container=fmt.container,
        path=str(path),
        size_bytes=size_of(path),
        sha256=digest_of(path),
        true_bits_per_weight=8 * contents.n_bytes / checkpoint.n_parameters,
        tensor_types=contents.tensor_types,
        seconds=outcome.seconds,
        made_by=_made_by(entry),
        notes=_notes(checkpoint, fmt),
    )
    write_manifest(artifact)
    return artifact


def remove_files(artifact: Artifact) -> None:
    """Delete an artifact's files; its manifest stays, because measurements refer to it."""
    path = Path(artifact.path)
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _entry(fmt: Format) -> str:
    write, quantise, export, quantise_onnx = _MAKERS
    if fmt.container == "gguf":
        return quantise if fmt.made_from in FORMATS else write
    return quantise_onnx if fmt.made_from in FORMATS else export


def _made_by(entry: str) -> dict[str, str]:
    return {"edgequant": __version__, **{name: _version(name) for name in _MAKERS[entry]}}


def _version(package: str) -> str:
    """A package's version, "" where it is not installed: an artifact may come from another machine."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _job(checkpoint: Checkpoint, fmt: Format, folder: Path, threads: int) -> dict[str, Any]:
    job: dict[str, Any] = {"target": str(artifact_path(checkpoint, fmt, folder)), "format": fmt.name}
    if fmt.made_from in FORMATS:
        job["source"] = str(artifact_path(checkpoint, FORMATS[fmt.made_from], folder))
        return job | {"ftype": fmt.llama_ftype, "threads": threads}
    return job | {
        "folder": str(checkpoint.path),
        "source": checkpoint.source,
        "name": checkpoint.name,
        "revision": checkpoint.revision,
    }


def _copy_tokenizer(checkpoint: Checkpoint, path: Path) -> None:
    """The checkpoint's own files: exporters write the tokenizer anew, in their library's dialect."""
    for pattern in ("tokenizer*", "chat_template.jinja", "generation_config.json", "special_tokens_map.json"):
        for file in checkpoint.path.glob(pattern):
            shutil.copy2(file, path / file.name)


def _contents(fmt: Format, path: Path) -> Contents:
    if fmt.container == "gguf":
        return inspect_gguf(path)
    return Contents(**child.run(f"{inspect_onnx.__module__}:inspect_onnx", {"path": str(path)}).unwrap())


def gguf_shapes(checkpoint: Checkpoint) -> list[tuple[str, tuple[int, ...]]]:
    """(GGUF name, shape) of every tensor, as `ladder` takes them."""
    factors = [(name, values.shape) for name, values in rope.tensors(geometry(checkpoint)).items()]
    return [*factors, *((tensor.name, tensor.shape) for tensor in layout.plan(checkpoint))]


def decoder(checkpoint: Checkpoint) -> ladder.Decoder:
    """What the choice of tensor types depends on."""
    sizes = geometry(checkpoint)
    return ladder.Decoder(
        architecture=find(checkpoint).gguf,
        n_layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        n_kv_heads=sizes.n_kv_heads,
        n_experts=sizes.n_experts,
    )


def _notes(checkpoint: Checkpoint, fmt: Format) -> tuple[str, ...]:
    if fmt.container != "gguf" or fmt.made_from not in FORMATS:
        return ()
    shapes = gguf_shapes(checkpoint)
    fallen = ladder.fell_back(fmt, shapes, decoder=decoder(checkpoint))
    rows = sorted({shape[-1] for name, shape in shapes if name in set(fallen)})
    if not fallen:
        return ()
    lengths = " and ".join(str(length) for length in rows)
    said = f"{len(fallen)} of {len(shapes)} tensors have rows ({lengths}) that fit no block of its types"
    return (f"fell back: {said}",)
