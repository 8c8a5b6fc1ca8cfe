"""A checkpoint: a folder with config.json, safetensors and a tokenizer, opened without reading the weights."""

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .. import Error

#: written into a folder that was made from a quantised file: where its weights come from
PROVENANCE_FILE = "edgequant.json"
INDEX_FILE = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"  # how the text begins that stands for a file not fetched yet
_HEADER_LIMIT_BYTES = 100 * 2**20  # the safetensors format's own limit
DTYPE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor as the safetensors header declares it; `offset` and `n_bytes` locate its data in `file`."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # "F32" | "F16" | "BF16" | ...
    file: Path
    offset: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class QuantisedSource:
    """The quantised file that a checkpoint's weights were dequantised from."""

    path: str
    type: str  # the tensor type that holds most weights, "Q4_1"
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights, configuration and tokenizer of one model, in Hugging Face form."""

    source: str  # what the user named
    name: str  # short, fit for a file name
    revision: str  # commit on the Hub, else "sha256:..." over the files
    path: Path
    architecture: str  # config.json's architectures[0]
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    dtype: str  # the type that holds most weights
    quantised_source: QuantisedSource | None = None
    rescaled: bool = False  # channels rescaled without changing the function
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = f"{self.n_parameters / 1e6:,.1f} M parameters, {self.size_bytes / 1e6:,.0f} MB"
        return f"{self.name}: {self.architecture}, {size} in {self.dtype}"

    @property
    def n_parameters(self) -> int:
        """Number of weights in the files."""
        return sum(t.n_elements for t in self.tensors.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of tensor data."""
        return sum(t.n_bytes for t in self.tensors.values())


def open_folder(folder: Path, *, source: str = "", name: str = "", revision: str = "") -> Checkpoint:
    """Open a local folder; reads config.json and the safetensors headers, and hashes the files for the revision.

    Raises `Error` for a folder that is no checkpoint, an adapter, a missing shard, a tensor that is there twice or not
    at all, a truncated file or pickled weights.
    """
    config = _read_config(folder)
    tensors = _read_tensors(folder)
    provenance = _read_json(folder / PROVENANCE_FILE) if (folder / PROVENANCE_FILE).exists() else {}
    origin = provenance.get("quantised_source")
    weights = Counter[str]()
    for tensor in tensors.values():
        weights[tensor.dtype] += tensor.n_elements
    return Checkpoint(
        source=source or str(folder),
        name=name or folder.resolve().name,
        revision=revision or _digest(folder, tensors),
        path=folder,
        architecture=_architecture(config),
        config=config,
        tensors=tensors,
        dtype=weights.most_common(1)[0][0],
        quantised_source=QuantisedSource(**{k: origin[k] for k in ("path", "type", "size_bytes")}) if origin else None,
        rescaled=bool(provenance.get("rescaled")),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Error(f"{path} is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Error(f"{path} holds no JSON object")
    return value


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise Error(f"{folder} does not exist", hint="name a folder, a GGUF file or a Hub id such as owner/model")
    if not (folder / "config.json").is_file():
        _refuse_adapter(folder)
        raise Error(f"{folder} has no config.json", hint="name the folder that holds the model's config.json")
    return _read_json(folder / "config.json")


def _architecture(config: Mapping[str, Any]) -> str:
    """The first of config.json's architectures, "" where it names none."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else named
    return first if isinstance(first, str) else ""


def _refuse_adapter(folder: Path) -> None:
    """`Error` for a folder with the weights of an adapter alone, whether or not a config.json lies beside them."""
    if (folder / "adapter_config.json").is_file():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        into = base if isinstance(base, str) and base else "its base model"
        raise Error(
            f"{folder} holds an adapter, not a model",
            hint=f"merge it into {into} first, with peft's merge_and_unload() and save_pretrained()",
        )


def _read_tensors(folder: Path) -> dict[str, TensorInfo]:
    shards = _read_index(folder)
    tensors: dict[str, TensorInfo] = {}
    for file in _listed_files(folder, shards) if shards else _found_files(folder):
        for tensor in read_header(file):
            if tensor.name in tensors:
                files = f"{tensors[tensor.name].file.name} and {file.name}"
                raise Error(
                    f"{folder} holds the tensor {tensor.name} twice, in {files}",
                    hint="remove the file that is no part of the model",
                )
            tensors[tensor.name] = tensor
    if not tensors:
        raise Error(f"{folder} holds no tensors")
    for name in shards.keys() - tensors.keys():
        raise Error(
            f"{folder}/{INDEX_FILE} places the tensor {name} in {shards[name]}, which does not hold it",
            hint="download the checkpoint again, whole",
        )
    return tensors


def _read_index(folder: Path) -> dict[str, str]:
    """Tensor -> shard; {} where there is no index."""
    index = folder / INDEX_FILE
    if not index.is_file():
        return {}
    shards = _read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise Error(f"{index} has no weight_map that names the shards", hint="download the checkpoint again, whole")
    return {name: str(file) for name, file in shards.items()}


def _listed_files(folder: Path, shards: Mapping[str, str]) -> list[Path]:
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name:
            raise Error(f"{folder}/{INDEX_FILE} names a file outside its folder: {name}")
        if not (folder / name).is_file():
            raise Error(f"{folder} lacks the shard {name}", hint="download the checkpoint again, whole")
    return [folder / name for name in names]


def _found_files(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("adapter_")]
    if files:
        return [folder / "model.safetensors"] if (folder / "model.safetensors") in files else files
    _refuse_adapter(folder)
    raise Error(f"{folder} holds no safetensors file", hint="the weights are missing: download the checkpoint again")


def read_header(file: Path) -> list[TensorInfo]:
    """The tensors that a safetensors file declares; `Error` where the file is shorter than it says.

    Format: 8 bytes little-endian header length, JSON header, data (github.com/huggingface/safetensors, README).
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise Error(f"{file} is a pointer of Git LFS, not the weights", hint="fetch them: git lfs pull")
        stream.seek(0)
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 0 < length <= min(size - 8, _HEADER_LIMIT_BYTES):
            raise Error(f"{file} is no safetensors file, or is cut short", hint="download or copy it again")
        try:
            header = json.loads(stream.read(length), object_pairs_hook=_without_doubles)
            rows = [(name, row) for name, row in header.items() if name != "__metadata__"]
        except KeyError as error:
            raise Error(f"{file} has {error.args[0]} twice in its header", hint="download or copy it again") from None
        except (ValueError, AttributeError, RecursionError):
            raise Error(f"{file} has a damaged header", hint="download or copy it again") from None
    tensors = [_tensor(file, name, row, 8 + length) for name, row in rows]
    end = max((t.offset + t.n_bytes for t in tensors), default=0)
    if end > size:
        raise Error(f"{file} is truncated: {size} bytes of {end}", hint="download or copy it again")
    return tensors


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different; `KeyError` for one that is not, of which json keeps the last."""
    found = dict(pairs)
    for name, n in Counter(name for name, _ in pairs).items() if len(found) < len(pairs) else ():
        if n > 1:
            raise KeyError(name)
    return found


def _tensor(file: Path, name: str, row: Mapping[str, Any], data_start: int) -> TensorInfo:
    try:
        begin, end = row["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *row["shape"])):
            raise ValueError
        tensor = TensorInfo(
            name=name,
            shape=tuple(row["shape"]),
            dtype=str(row["dtype"]),
            file=file,
            offset=data_start + begin,
            n_bytes=end - begin,
        )
    except (KeyError, TypeError, ValueError):
        raise Error(f"{file} describes the tensor {name} in no way that safetensors knows") from None
    if tensor.n_bytes != tensor.n_elements * DTYPE_BYTES.get(tensor.dtype, -1):
        raise Error(f"{file}: tensor {name} of type {tensor.dtype} and shape {list(tensor.shape)} has a wrong size")
    return tensor


def _digest(folder: Path, tensors: Mapping[str, TensorInfo]) -> str:
    """SHA-256 over everything that decides what an artifact becomes: configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    files = {tensor.file for tensor in tensors.values()}
    for pattern in ("*.json", "*.jinja", "tokenizer.model"):
        files.update(folder.glob(pattern))
    for file in sorted(files - {folder / PROVENANCE_FILE}):  # where a source lay decides nothing
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return "sha256:" + digest.hexdigest()
