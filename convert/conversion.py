"""Making artifacts: each format from what it is made from, in a child process, and explained by a manifest."""

import glob
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import Error, child
from . import gguf_split, ladder, makers, packed_tensors, peer_converter, plain_copy
from .architectures import layout, rope
from .architectures.geometry import geometry
from .architectures.table import find
from .artifact import (
    MANIFEST_SUFFIX,
    Artifact,
    digest_of,
    files_of,
    is_whole,
    manifest_path,
    read_manifest,
    size_of,
    write_manifest,
)
from .atomic import discard
from .checkpoint import Checkpoint
from .floats import BeyondRange
from .formats import FORMATS, Format
from .fused import positions
from .fused.expressible import obstacle
from .inspection import Contents, inspect_gguf, inspect_onnx
from .onnx_options import OnnxOptions

_BF16 = FORMATS["BF16"]
OWN_GRAPH = "our own graph of fused operators"
STANDS_IN = "stands in for F16: "  # begins a note; the reason follows
#: a child that hangs must not hang the run; a board that takes a second for half a megabyte must end in its time
_DEADLINE_SECONDS = 3600.0
_SLOWEST_BYTES_PER_SECOND = 500_000


class Failed(Error):
    """A conversion that came to nothing; `status` says how its child ended: "error", "oom", "timeout" or "crash"."""

    def __init__(self, outcome: child.Outcome) -> None:
        """Take up the child's words."""
        super().__init__(outcome.note, hint=outcome.hint)
        self.status = outcome.status
        self.is_beyond_range = outcome.kind == BeyondRange.__name__


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where artifacts are made, on how many threads, and how many bytes a GGUF file may have (0: as it comes).

    `allow_nan` lets weights through that are no finite numbers; `onnx` is what was chosen about quantised ONNX.
    """

    folder: Path
    threads: int
    split_max_bytes: int = 0
    allow_nan: bool = False
    onnx: OnnxOptions = field(default_factory=OnnxOptions)


def artifact_path(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Path:
    """Where an artifact lies: NAME-FORMAT.gguf, if it is in one file, or a folder NAME-FORMAT for ONNX."""
    return folder / (f"{checkpoint.name}-{fmt.name}" + (".gguf" if fmt.container == "gguf" else ""))


def recorded(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Artifact | None:
    """The artifact that was made in `folder` from these weights by these versions, whether or not its files remain."""
    for path in _described(artifact_path(checkpoint, fmt, folder)):
        artifact = read_manifest(path)
        same = artifact.checkpoint_revision == checkpoint.revision
        if same and dict(artifact.made_by) == makers.made_by(checkpoint, fmt):
            return artifact
    return None


def _described(whole: Path) -> list[Path]:
    """The file, or the first shard of it, that has a manifest; mostly one or none."""
    pattern = f"{glob.escape(whole.stem)}-00001-of-[0-9][0-9][0-9][0-9][0-9].gguf{MANIFEST_SUFFIX}"
    shards = [file.with_name(file.name.removesuffix(MANIFEST_SUFFIX)) for file in sorted(whole.parent.glob(pattern))]
    return ([whole] if manifest_path(whole).exists() else []) + shards


def existing(checkpoint: Checkpoint, fmt: Format, workshop: Workshop) -> Artifact | None:
    """The artifact in the workshop, if it is there as asked."""
    artifact = kept(checkpoint, fmt, workshop)
    return artifact if artifact and dict(artifact.options) == workshop.onnx.heeded(fmt) else None


def kept(checkpoint: Checkpoint, fmt: Format, workshop: Workshop) -> Artifact | None:
    """The same under whatever options: made from these weights by these versions, whole, and cut as asked."""
    artifact = recorded(checkpoint, fmt, workshop.folder)
    whole = artifact and is_whole(artifact) and _is_cut(artifact, workshop.split_max_bytes)
    return artifact if whole else None


def _is_cut(artifact: Artifact, split_max_bytes: int) -> bool:
    """Whether no file is too large; a tensor that is larger than the limit makes one that is all the same."""
    if artifact.container != "gguf":
        return True
    files = files_of(Path(artifact.path))
    if not split_max_bytes:
        return len(files) == 1
    return artifact.split_max_bytes == split_max_bytes or all(f.stat().st_size <= split_max_bytes for f in files)


def stand_in(checkpoint: Checkpoint, folder: Path) -> str:
    """Why BF16 stands in for F16 in this folder; "" where it does not, as far as is known."""
    bf16 = recorded(checkpoint, _BF16, folder)
    notes = (note.removeprefix(STANDS_IN) for note in (bf16.notes if bf16 else ()) if note.startswith(STANDS_IN))
    return next(notes, "")


def source_in(checkpoint: Checkpoint, fmt: Format, folder: Path) -> Format | None:
    """The format that this one is made from here; None where that is the checkpoint."""
    source = makers.source_of(checkpoint, fmt)
    return _BF16 if source and source.name == "F16" and stand_in(checkpoint, folder) else source


def convert(
    checkpoint: Checkpoint,
    fmt: Format,
    workshop: Workshop,
    *,
    progress: child.Progress | None = None,
    note: str = "",
) -> Artifact:
    """Make one artifact from the checkpoint, or from its source format, which must be in the folder already.

    An artifact that is there and still fits is returned as it is; one that is made keeps the note. Raises `Failed`
    where the conversion fails; then nothing is left behind.
    """
    folder = workshop.folder
    found = existing(checkpoint, fmt, workshop)
    if found:
        return found
    makers.check(checkpoint, fmt)
    why = stand_in(checkpoint, folder) if fmt is _BF16 else ""
    target, maker = artifact_path(checkpoint, fmt, folder), makers.maker_of(checkpoint, fmt)
    job = _job(checkpoint, fmt, workshop)
    _clear(target)
    deadline = _DEADLINE_SECONDS + checkpoint.size_bytes / _SLOWEST_BYTES_PER_SECOND
    with _readable(checkpoint, maker, folder, progress) as source:
        outcome = child.run(maker.entry, {**job, **source}, deadline_seconds=deadline, progress=progress)
    if outcome.status != "ok":
        discard(target)
        _remove(gguf_split.shards_of(target))
        raise Failed(outcome)
    path = Path((outcome.value or {}).get("path", target))
    if fmt.container == "gguf" and path != target:
        target.unlink(missing_ok=True)
    try:
        if fmt.container == "onnx":
            _copy_companions(checkpoint, path)
        artifact = _artifact(checkpoint, fmt, workshop, path=path, outcome=outcome)
    except (Error, OSError) as error:  # a full disk, a child that was killed while it read the file
        _delete(path)
        raise error if isinstance(error, Error) else Error(f"cannot write {path}: {error.strerror}") from error
    artifact = replace(
        artifact, notes=tuple(text for text in (why and f"{STANDS_IN}{why}", note, *artifact.notes) if text)
    )
    write_manifest(artifact)
    return artifact


def convert_instead(
    checkpoint: Checkpoint, workshop: Workshop, *, reason: str, progress: child.Progress | None = None
) -> Artifact:
    """Make BF16 where F16 cannot hold the weights; its manifest keeps the reason, for `stand_in`."""
    made = convert(checkpoint, _BF16, workshop, progress=progress)
    artifact = replace(made, notes=tuple(dict.fromkeys([f"{STANDS_IN}{reason}", *made.notes])))
    write_manifest(artifact)
    return artifact


def _artifact(
    checkpoint: Checkpoint, fmt: Format, workshop: Workshop, *, path: Path, outcome: child.Outcome
) -> Artifact:
    contents = _contents(fmt, path)
    said = gguf_split.excess(files_of(path), workshop.split_max_bytes) if fmt.container == "gguf" else ""
    theirs = checkpoint.converter is not None and fmt.container == "gguf"
    return Artifact(
        checkpoint=checkpoint.name,
        checkpoint_revision=checkpoint.revision,
        format=fmt.name,
        container=fmt.container,
        path=str(path),
        size_bytes=size_of(path),
        sha256=digest_of(path),
        true_bits_per_weight=8 * contents.n_bytes / (contents.n_weights if theirs else checkpoint.n_parameters),
        tensor_types=contents.tensor_types,
        seconds=outcome.seconds,
        made_by=makers.made_by(checkpoint, fmt),
        options=workshop.onnx.heeded(fmt),
        notes=(*_notes(checkpoint, fmt, workshop.folder), *([said] if said else [])),
        split_max_bytes=workshop.split_max_bytes if fmt.container == "gguf" else 0,
    )


def remove_files(artifact: Artifact) -> None:
    """Delete an artifact's files; its manifest stays, because measurements refer to it."""
    _delete(Path(artifact.path))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        _remove(files_of(path))


def _clear(target: Path) -> None:
    """Remove manifests and shards of what is about to be made; a whole file stays until it is replaced."""
    for path in _described(target):
        manifest_path(path).unlink()
    _remove(gguf_split.shards_of(target))


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _job(checkpoint: Checkpoint, fmt: Format, workshop: Workshop) -> dict[str, Any]:
    job: dict[str, Any] = {"target": str(artifact_path(checkpoint, fmt, workshop.folder)), "format": fmt.name}
    if fmt.container == "gguf":
        job["split_max_bytes"] = workshop.split_max_bytes
    else:
        job |= {"options": workshop.onnx.job(), "threads": workshop.threads}
    source = source_in(checkpoint, fmt, workshop.folder)
    if source:
        return job | _quantising(checkpoint, fmt, workshop, source)
    return job | {
        "folder": str(checkpoint.path),
        "source": checkpoint.source,
        "name": checkpoint.name,
        "revision": checkpoint.revision,
        "allow_nan": workshop.allow_nan,
        **({"script": str(checkpoint.converter.script)} if checkpoint.converter else {}),
    }


def _quantising(checkpoint: Checkpoint, fmt: Format, workshop: Workshop, source: Format) -> dict[str, Any]:
    made = recorded(checkpoint, source, workshop.folder)
    path = made.path if made else str(artifact_path(checkpoint, source, workshop.folder))
    return {"source": path, "ftype": fmt.llama_ftype, "threads": workshop.threads}


@contextmanager
def _readable(
    checkpoint: Checkpoint, maker: makers.Maker, folder: Path, progress: child.Progress | None
) -> Iterator[dict[str, str]]:
    """Where an exporter finds plain weights, as a part of its job."""
    if maker != makers.EXPORT_ONNX:
        yield {}
        return
    with plain_copy.lent(checkpoint, folder / f".{checkpoint.name}-float32", progress=progress) as plain:
        yield {"folder": str(plain.path)}


def _copy_companions(checkpoint: Checkpoint, path: Path) -> None:
    """The checkpoint's own files: exporters write the tokenizer anew, in their library's dialect.

    Programs that run the graph read config.json too; how the checkpoint's weights were stored it does not say there.
    """
    config = path / "config.json"
    if not config.exists():
        config.write_text(_config_text(checkpoint), encoding="utf-8")
    for file in _companions(checkpoint):
        shutil.copy2(file, path / file.name)


def _config_text(checkpoint: Checkpoint) -> str:
    return json.dumps(plain_copy.without_quantisation(checkpoint.config), indent=2)


def _companions(checkpoint: Checkpoint) -> list[Path]:
    patterns = ("tokenizer*", "chat_template.jinja", "generation_config.json", "special_tokens_map.json")
    return [file for pattern in patterns for file in checkpoint.path.glob(pattern)]


def companion_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of what lies beside an ONNX graph of ours: the tokenizer's files and config.json."""
    return len(_config_text(checkpoint).encode()) + sum(file.stat().st_size for file in _companions(checkpoint))


def _contents(fmt: Format, path: Path) -> Contents:
    if fmt.container == "gguf":
        return inspect_gguf(path)
    return Contents(**child.run(f"{inspect_onnx.__module__}:inspect_onnx", {"path": str(path)}).unwrap())


def gguf_shapes(checkpoint: Checkpoint) -> list[tuple[str, tuple[int, ...]]]:
    """(GGUF name, shape) of every tensor, as `ladder` takes them."""
    factors = [(name, values.shape) for name, values in rope.tensors(geometry(checkpoint)).items()]
    return [*factors, *((tensor.name, tensor.shape) for tensor in layout.plan(checkpoint))]


def context_and_vocabulary(checkpoint: Checkpoint) -> tuple[int, int]:
    """Tokens that the model can hold, and rows of its vocabulary."""
    if checkpoint.converter:
        return peer_converter.stated_sizes(checkpoint)
    sizes = geometry(checkpoint)
    return sizes.context, sizes.vocabulary


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


def _notes(checkpoint: Checkpoint, fmt: Format, folder: Path) -> tuple[str, ...]:
    source = source_in(checkpoint, fmt, folder)
    if fmt.container != "gguf":
        return _onnx_notes(checkpoint)
    made = [f"made from BF16: {stand_in(checkpoint, folder)}"] if source is _BF16 else []
    if checkpoint.converter:
        return (f"converted by llama.cpp's {peer_converter.SCRIPT}: {checkpoint.converter.why}", *made)
    made += _shorter_context(checkpoint)
    if source is None:
        dequantised = packed_tensors.note(checkpoint.tensors.values(), fmt.name)
        return (*made, dequantised) if dequantised else tuple(made)
    shapes = gguf_shapes(checkpoint)
    fallen = ladder.fell_back(fmt, shapes, decoder=decoder(checkpoint))
    rows = sorted({shape[-1] for name, shape in shapes if name in set(fallen)})
    if fallen:
        lengths = " and ".join(str(length) for length in rows)
        said = f"{len(fallen)} of {len(shapes)} tensors have rows ({lengths}) that fit no block of its types"
        made.append(f"fell back: {said}")
    return tuple(made)


def _onnx_notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Which way it was made, and what our graph cannot hold of the context."""
    if why := obstacle(checkpoint):
        return (f"exported by Optimum: {why}",)
    model = geometry(checkpoint)
    held, trained = positions.n_positions(model), model.trained_context
    short = f"shorter context: {held:,} of {trained:,} tokens are in its tables of positions"
    return (OWN_GRAPH, *([short] if held < trained else []))


def _shorter_context(checkpoint: Checkpoint) -> list[str]:
    """What llama.cpp computes otherwise beyond a window that its graph does not slide."""
    model = geometry(checkpoint)
    if model.context == model.trained_context:
        return []
    said = f"{model.context:,} of {model.trained_context:,} tokens, for llama.cpp does not slide this model's window"
    return [f"shorter context: {said}"]
