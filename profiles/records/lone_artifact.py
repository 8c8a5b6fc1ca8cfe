"""A file that lies in no run, as something that can be measured."""

from pathlib import Path

from ... import Error
from ...convert.artifact import Artifact, digest_of, files_of, manifest_path, read_manifest, size_of
from ...convert.description import describe
from ...convert.fused.graph import MODEL_FILE


def is_artifact(path: Path) -> bool:
    """Whether it is a GGUF file, or a folder with an ONNX graph."""
    return path.suffix == ".gguf" or (path / MODEL_FILE).is_file()


def artifact_of(path: Path) -> Artifact:
    """The artifact at `path`, as its manifest has it, or as far as can be seen from outside."""
    path = path if path.is_dir() else files_of(path)[0]  # any shard stands for the whole
    if not path.exists():
        raise Error(f"{path} does not exist")
    if manifest_path(path).is_file():
        return read_manifest(path)
    return Artifact(
        checkpoint=path.stem,
        checkpoint_revision="",
        format=path.stem,
        container="onnx" if path.is_dir() else "gguf",
        path=str(path),
        size_bytes=size_of(path),
        sha256=digest_of(path),
        true_bits_per_weight=0.0,
        tensor_types={},
        seconds=0.0,
        made_by={},
    )


def trained_context(path: Path) -> int:
    """Tokens that the model was trained for, as its header or the config.json beside its graph states; 0 for none.

    `Error` for a file that is damaged or cut short.
    """
    geometry = describe(path).attention
    return max(0, geometry.trained_context) if geometry else 0
