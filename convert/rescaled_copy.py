"""A checkpoint whose channels are rescaled by given factors, written out so that every converter can take it."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error, child
from . import safetensors_writer
from .calibration import smoothquant
from .checkpoint import Checkpoint, open_folder
from .plain_copy import check_disk, copy_all_but_weights
from .rescale import Factors, apply, fold, name_in_table, sites
from .safetensors_header import TensorInfo
from .safetensors_writer import TensorToWrite
from .weights import row_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@contextmanager
def lent(
    checkpoint: Checkpoint, factors: Path, folder: Path, *, progress: child.Progress | None = None
) -> Iterator[Checkpoint]:
    """A copy in `folder`, in float32, which is removed afterwards; `factors` is a file of `smoothquant.save`.

    Raises `Error` where the disk has no room for it, and for factors of another model.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_disk(checkpoint, folder)
        job = {"folder": str(checkpoint.path), "target": str(folder), "factors": str(factors)}
        child.run(f"{__name__}:write", job, progress=progress).unwrap()
        yield open_folder(folder, source=checkpoint.source, name=checkpoint.name, revision=checkpoint.revision)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write the checkpoint in `job["folder"]`, rescaled by the factors in `job["factors"]`, to `job["target"]`."""
    checkpoint, target = open_folder(Path(job["folder"]), revision="not computed"), Path(job["target"])
    factors = _folded(checkpoint, Path(job["factors"]))
    copy_all_but_weights(checkpoint, target)
    known = {name: name_in_table(name, checkpoint.config) for name in checkpoint.tensors}
    tensors = [
        TensorToWrite(name=name, shape=tensor.shape, blocks=partial(_rescaled, known[name], tensor, factors))
        for name, tensor in checkpoint.tensors.items()
    ]
    safetensors_writer.write(
        target / "model.safetensors", tensors, progress=lambda done, n: progress(f"rescales {done} of {n} tensors")
    )


def _folded(checkpoint: Checkpoint, file: Path) -> Factors:
    given = smoothquant.load(file)
    known = [(site, given.pop(site.name)) for site in sites(checkpoint.config) if site.name in given]
    wrong = [*given, *(site.name for site, values in known if values.shape != (site.n_channels,))]
    if wrong:
        raise Error(f"{file} holds factors of another model: {checkpoint.name} has no such {wrong[0]}")
    return fold(known)


def _rescaled(name: str, tensor: TensorInfo, factors: Factors) -> Iterator["Floats"]:
    first_row = 0
    for block in row_blocks(tensor):
        rows = block.ravel() if len(tensor.shape) == 1 else block
        yield apply(name, rows, factors, first_row=first_row)
        first_row += len(rows)
