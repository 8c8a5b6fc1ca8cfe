"""A checkpoint that is quantised already, written out in float32 for libraries that read no other."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error, child
from . import safetensors_writer
from .checkpoint import INDEX_FILE, Checkpoint, open_folder
from .packed_tensors import PackedTensor
from .quantisation_config import KEYS
from .safetensors_header import TensorInfo
from .safetensors_writer import TensorToWrite
from .weights import read_rows, row_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_WEIGHT_BYTES = 4


@contextmanager
def lent(checkpoint: Checkpoint, folder: Path, *, progress: child.Progress | None = None) -> Iterator[Checkpoint]:
    """The checkpoint where its weights are plain, else a copy in `folder`, which is removed afterwards.

    Raises `Error` where the disk has no room for it.
    """
    if not any(isinstance(tensor, PackedTensor) for tensor in checkpoint.tensors.values()):
        yield checkpoint
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_disk(checkpoint, folder)
        job = {"folder": str(checkpoint.path), "target": str(folder)}
        child.run(f"{__name__}:write", job, progress=progress).unwrap()
        yield open_folder(folder, source=checkpoint.source, name=checkpoint.name, revision=checkpoint.revision)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_disk(checkpoint: Checkpoint, folder: Path) -> None:
    """`Error` where the disk has no room for the weights in float32."""
    free, needed = shutil.disk_usage(folder).free, _WEIGHT_BYTES * checkpoint.n_parameters
    if free < needed:
        sizes = f"{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise Error(f"a copy of the weights in float32 takes {sizes} on the disk of {folder}")


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write the checkpoint in `job["folder"]` to the folder `job["target"]`, in float32 and without a word of bits."""
    checkpoint, target = open_folder(Path(job["folder"]), revision="not computed"), Path(job["target"])
    copy_all_but_weights(checkpoint, target)
    tensors = [_written(name, tensor) for name, tensor in checkpoint.tensors.items()]
    safetensors_writer.write(
        target / "model.safetensors",
        tensors,
        progress=lambda done, n: progress(f"dequantises {done} of {n} tensors"),
    )


def copy_all_but_weights(checkpoint: Checkpoint, target: Path) -> None:
    """Tokenizer, configuration (without a word of quantised weights) and whatever else lies in the folder."""
    for file in checkpoint.path.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name not in (INDEX_FILE, "config.json"):
            shutil.copy2(file, target / file.name)
    config = without_quantisation(checkpoint.config)
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def without_quantisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that says nothing of how weights are stored."""
    kept = {key: value for key, value in config.items() if key not in KEYS}
    nested = kept.get("text_config")
    return {**kept, "text_config": without_quantisation(nested)} if isinstance(nested, Mapping) else kept


def _written(name: str, tensor: TensorInfo) -> TensorToWrite:
    """Stacks that transformers has columns first it stores rows first in MXFP4 (its integrations/mxfp4.py)."""
    if tensor.dtype == "MXFP4" and len(tensor.shape) == 3 and not name.endswith(".weight"):
        n_matrices, n_rows, n_columns = tensor.shape
        shape = (n_matrices, n_columns, n_rows)
        return TensorToWrite(name=name, shape=shape, blocks=lambda: _transposed(tensor, n_matrices, n_rows))
    return TensorToWrite(name=name, shape=tensor.shape, blocks=lambda: row_blocks(tensor))


def _transposed(tensor: TensorInfo, n_matrices: int, n_rows: int) -> Iterator["Floats"]:
    for matrix in range(n_matrices):
        yield read_rows(tensor, matrix * n_rows, n_rows).T
