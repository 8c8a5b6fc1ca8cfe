"""A checkpoint: a folder with config.json, safetensors and a tokenizer, opened without reading the weights."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error
from .packed_tensors import with_scales
from .quantisation_config import scheme_of
from .safetensors_header import TensorInfo, read_header

#: written into a folder that was made from a quantised file: where its weights come from
PROVENANCE_FILE = "edgequant.json"
INDEX_FILE = "model.safetensors.index.json"
_HASHED_AT_ONCE = 4  # shards; more would only make the disk seek


@dataclass(frozen=True, kw_only=True)
class QuantisedSource:
    """The quantised file that a checkpoint's weights were dequantised from."""

    path: str
    type: str  # the tensor type that holds most weights, "Q4_1"
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class PeerConverter:
    """llama.cpp's own converter, which makes the GGUF files of a checkpoint that ours refuses."""

    script: Path
    version: str
    why: str  # what ours said


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
    converter: PeerConverter | None = None
    remote: bool = False  # only its headers and config.json are here, and perhaps no tokenizer

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
    read_config(folder)
    stored = _read_tensors(folder)
    return assemble(
        folder, stored, source=source or str(folder), name=name, revision=revision or _digest(folder, stored)
    )


def assemble(
    folder: Path, stored: Mapping[str, TensorInfo], *, source: str, name: str = "", revision: str, remote: bool = False
) -> Checkpoint:
    """The checkpoint of a folder's config.json and of tensors as their headers, wherever they lie, declare them."""
    config = read_config(folder)
    if not stored:
        raise Error(f"{source} holds no tensors")
    scheme = scheme_of(config)
    tensors = with_scales(stored, scheme) if scheme and not scheme.unreadable else stored
    provenance = _read_json(folder / PROVENANCE_FILE) if (folder / PROVENANCE_FILE).exists() else {}
    origin = provenance.get("quantised_source")
    weights = Counter[str]()
    for tensor in tensors.values():
        weights[tensor.dtype] += tensor.n_elements
    return Checkpoint(
        source=source,
        name=name or folder.resolve().name,
        revision=revision,
        path=folder,
        architecture=_architecture(config),
        config=config,
        tensors=tensors,
        dtype=weights.most_common(1)[0][0],
        quantised_source=QuantisedSource(**{k: origin[k] for k in ("path", "type", "size_bytes")}) if origin else None,
        rescaled=bool(provenance.get("rescaled")),
        remote=remote,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Error(f"{path} is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Error(f"{path} holds no JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint's folder; `Error` where there is none, or an adapter's alone."""
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


def _digest(folder: Path, tensors: Mapping[str, TensorInfo]) -> str:
    """SHA-256 over everything that decides what an artifact becomes: configuration, tokenizer and weights."""
    files = {tensor.file for tensor in tensors.values()}
    for pattern in ("*.json", "*.jinja", "tokenizer.model"):
        files.update(folder.glob(pattern))
    ordered = sorted(files - {folder / PROVENANCE_FILE})  # where a source lay decides nothing
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max_workers=_HASHED_AT_ONCE) as pool:  # hashing leaves Python's lock alone
        for file, of_file in zip(ordered, pool.map(_digest_of_file, ordered), strict=True):
            digest.update(file.name.encode())
            digest.update(of_file)
    return "sha256:" + digest.hexdigest()


def _digest_of_file(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
