"""Pickled weights (.bin) rewritten as safetensors: read by torch with `weights_only=True`, which runs no code."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import Error
from .atomic import replacing

_INDEX = "pytorch_model.bin.index.json"
_COMPANIONS = ("*.json", "*.jinja", "tokenizer.model")
#: torch's name -> safetensors'
_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "bool": "BOOL"}


def is_pickled(folder: Path) -> bool:
    """Whether a checkpoint has its weights in .bin files alone."""
    return bool(list(folder.glob("*.bin"))) and not list(folder.glob("*.safetensors"))


def to_safetensors(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write the checkpoint in `job["folder"]` with safetensors to the folder `job["target"]`, one file a .bin file.

    `Error` for a pickle that holds anything but tensors. Behind the fence: imports torch.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise Error(f"pickled weights need torch: {error}", hint='pip install "edgequant[convert]"') from None
    folder = Path(job["folder"])
    with replacing(Path(job["target"])) as partial:
        partial.mkdir()
        _copy_companions(folder, partial)
        for file in _shards(folder):
            progress(file.name)
            tensors = {name: value.contiguous().clone() for name, value in _load(file).items()}
            save_file(tensors, partial / f"{file.stem}.safetensors", metadata={"format": "pt"})


def outline(job: Mapping[str, Any]) -> list[tuple[str, list[int], str]]:
    """Copy what is no weights to `job["target"]`; returns (name, shape, type in safetensors' words) of every tensor.

    Files that torch can map (all that it wrote since 2020) are not read whole. Behind the fence: imports torch.
    """
    try:
        import torch
    except ImportError as error:
        raise Error(f"pickled weights need torch: {error}", hint='pip install "edgequant[convert]"') from None
    kinds = {getattr(torch, name): short for name, short in _TYPES.items()}
    folder, target = Path(job["folder"]), Path(job["target"])
    target.mkdir(parents=True, exist_ok=True)
    _copy_companions(folder, target)
    tensors = (pair for file in _shards(folder) for pair in _load(file, mapped=zipfile.is_zipfile(file)).items())
    return [(name, list(value.shape), kinds.get(value.dtype, str(value.dtype))) for name, value in tensors]


def _copy_companions(folder: Path, target: Path) -> None:
    for pattern in _COMPANIONS:
        for file in folder.glob(pattern):
            if file.name != _INDEX:
                shutil.copy2(file, target / file.name)


def _shards(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if not index.is_file():
        return sorted(folder.glob("pytorch_model*.bin")) or sorted(folder.glob("*.bin"))
    names = sorted({Path(name).name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    for name in names:
        if not (folder / name).is_file():
            raise Error(f"{folder} lacks the shard {name}", hint="download the checkpoint again, whole")
    return [folder / name for name in names]


def _load(file: Path, *, mapped: bool = False) -> dict[str, Any]:
    import torch

    try:
        values = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError):  # torch's own words advise to let it run code
        raise Error(
            f"{file} does not load as weights alone: it is damaged, or holds more than tensors",
            hint="a pickle can run code when loaded; ask for the model as safetensors",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise Error(f"{file} holds something else than named tensors")
    return values
