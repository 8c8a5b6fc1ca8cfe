"""SmoothQuant's factors: how far each channel's range moves from the activations into the weights.

s = max|x|^strength / max|w|^(1 - strength) for each channel of a product's input x and of its weights w
(arXiv 2211.10438, equation 4), at every site of convert/rescale.py.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ... import Error
from .. import safetensors_writer, weights
from ..checkpoint import Checkpoint
from ..rescale import Site, name_in_table, sites
from ..safetensors_header import read_header
from ..safetensors_writer import TensorToWrite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: site's name -> a number for each of its channels
SiteValues = Mapping[str, "Floats"]
_SMALLEST = 1e-5  # of a factor, relative to its site's largest: beyond it nothing is won, and digits are lost


def factors(site: Site, activations: "Floats", weights: "Floats", *, strength: float) -> "Floats":
    """Factors [n_channels] of a site from the largest |x| and |w| of each input channel of its consumers.

    Channels that several heads read together are tied: the largest counts. The largest factor is 1: rounding depends on
    their ratios alone, and (1 + weight) / factor - 1, which Gemma's norms become, keeps its digits. A channel that is
    zero in the text or in the weights gets the middle (geometric mean) of the others.
    """
    import numpy as np

    largest = [_tied(site, values.astype(np.float64)) for values in (activations, weights)]
    used = (largest[0] > 0) & (largest[1] > 0)
    logs = strength * np.log(largest[0][used]) - (1 - strength) * np.log(largest[1][used])
    found = np.full(site.n_channels, logs.mean() if len(logs) else 0.0)
    found[used] = logs
    relative: Floats = np.maximum(np.exp(found - found.max()), _SMALLEST).astype(np.float32)
    return relative


def _tied(site: Site, values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    tied: NDArray[np.float64] = values.reshape(-1, site.n_readers, site.head_dim).max(axis=1).ravel()
    return tied


def smoothing(
    checkpoint: Checkpoint, activations: SiteValues, weights: SiteValues, *, strength: float
) -> dict[str, "Floats"]:
    """Site's name -> factors, for all sites of a checkpoint, from the largest |x| and |w| of each input channel."""
    return {
        site.name: factors(site, activations[site.name], weights[site.name], strength=strength)
        for site in sites(checkpoint.config)
    }


def largest_weights(checkpoint: Checkpoint) -> dict[str, "Floats"]:
    """Site's name -> the largest |w| of each input channel over all consumers; reads blocks of rows."""
    import numpy as np

    readers = {name: site.name for site in sites(checkpoint.config) for name in site.consumers}
    found: dict[str, Floats] = {}
    for name, tensor in checkpoint.tensors.items():
        site = readers.get(name_in_table(name, checkpoint.config))
        for block in weights.row_blocks(tensor) if site else ():
            largest = np.abs(block).max(axis=0)
            found[str(site)] = np.maximum(found[str(site)], largest) if site in found else largest
    return found


def save(path: Path, values: SiteValues) -> None:
    """Write values by site, factors or maxima, to a safetensors file."""
    tensors = [
        TensorToWrite(name=name, shape=numbers.shape, blocks=partial(iter, [numbers]))
        for name, numbers in sorted(values.items())
    ]
    safetensors_writer.write(path, tensors)


def load(path: Path) -> dict[str, "Floats"]:
    """Read what `save` wrote; `Error` for a file that is none."""
    if not path.is_file():
        raise Error(f"{path} does not exist or is no file")
    return {tensor.name: weights.read(tensor) for tensor in read_header(path)}
