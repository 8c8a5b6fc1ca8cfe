"""An artifact: one file (GGUF) or folder (ONNX) made from a checkpoint, and the manifest that explains it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import Error
from .atomic import write_text

MANIFEST_SUFFIX = ".manifest.json"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")  # as llama.cpp names them: llama_split_path in src/llama.cpp


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What was made, from what, by what; sizes in bytes, `seconds` is the time it took to make.

    A model in several files is known by the first of them: `path` is that one's, `size_bytes` and `sha256` are of all.
    """

    checkpoint: str  # name of the checkpoint it was made from
    checkpoint_revision: str  # commit on the Hub, or the digest of a local checkpoint
    format: str
    container: str  # "gguf" | "onnx"
    path: str
    size_bytes: int
    sha256: str
    true_bits_per_weight: float
    tensor_types: Mapping[str, float]  # type name -> share of the weights, 0..1
    seconds: float
    made_by: Mapping[str, str]  # package -> version
    notes: tuple[str, ...] = field(default=())
    split_max_bytes: int = 0  # what a file of it was to hold at most; 0 where it was not to be split
    options: Mapping[str, Any] = field(default_factory=dict)  # what was chosen of what its format heeds
    checks: Mapping[str, str] = field(default_factory=dict)  # what was checked -> "passed: ..." or "failed: ..."

    def to_json(self) -> dict[str, Any]:
        """The artifact as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Artifact":
        """The reverse of `to_json`."""
        return cls(**{**values, "notes": tuple(values.get("notes", ()))})


def manifest_path(path: Path) -> Path:
    """Where the manifest of the artifact at `path` lies: beside it."""
    return path.with_name(path.name + MANIFEST_SUFFIX)


def write_manifest(artifact: Artifact) -> None:
    """Write the manifest beside the artifact; the path in it is the bare name, so that the folder can be moved."""
    values = artifact.to_json() | {"path": Path(artifact.path).name}
    write_text(manifest_path(Path(artifact.path)), json.dumps(values, indent=2) + "\n")


def read_manifest(path: Path) -> Artifact:
    """The artifact at `path`, as its manifest describes it; `Error` where there is none or it does not read."""
    file = manifest_path(path)
    try:
        return Artifact.from_json(json.loads(file.read_text(encoding="utf-8")) | {"path": str(path)})
    except FileNotFoundError:
        raise Error(f"{path} has no manifest", hint="artifacts are made by `edgequant convert`") from None
    except (ValueError, TypeError) as error:
        raise Error(f"{file} is no manifest: {error}") from None


def shard_path(whole: Path, number: int, count: int) -> Path:
    """Where one of `count` shards lies, counted from 1, of what would otherwise be the file `whole`."""
    return whole.with_name(f"{whole.stem}-{number:05}-of-{count:05}.gguf")


def files_of(path: Path) -> list[Path]:
    """The files that an artifact consists of, in a fixed order: one, all shards, or all in a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    shard = _SHARD.fullmatch(path.name)
    if not shard:
        return [path]
    whole = path.with_name(f"{shard[1]}.gguf")
    return [shard_path(whole, n + 1, int(shard[3])) for n in range(int(shard[3]))]


def is_whole(artifact: Artifact) -> bool:
    """Whether all its files are there and have the size that its manifest states."""
    files = files_of(Path(artifact.path))
    return all(file.exists() for file in files) and size_of(Path(artifact.path)) == artifact.size_bytes


def size_of(path: Path) -> int:
    """Bytes of all files of an artifact."""
    return sum(file.stat().st_size for file in files_of(path))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or over the names and digests of several."""
    files = files_of(path)
    if files == [path]:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest, folder = hashlib.sha256(), path if path.is_dir() else path.parent
    for file in files:
        with file.open("rb") as stream:
            one = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {one}\n".encode())
    return digest.hexdigest()
