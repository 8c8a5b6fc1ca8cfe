"""The factors by which an artifact's channels were rescaled before they were quantised, read back from it.

A smoothed artifact is to be its checkpoint but for factors that cancel (`convert.rescale`). A norm that was divided by
them says them exactly. Rows of up and v say them but for their rounding, whose part in a row's length is smaller than
in a weight by the root of the row's length. Rescaled by what was found, the checkpoint's weights must be the
artifact's: then what divides a channel in one place multiplies it in the other, and the float output is the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..convert.rescale import Factors, Site, fold, sites
from .onnx_origin import Origin
from .onnx_stored import Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def factors(origin: Origin, stored: Mapping[str, Stored], vectors: Mapping[str, Any]) -> Factors:
    """What divided and multiplied the checkpoint's tensors; `stored` matrices and `vectors` are the artifact's."""
    known: list[tuple[Site, Floats]] = []
    others: list[Site] = []
    for site in sites(origin.checkpoint.config):
        norm = origin.vector_of(site.producers[0])
        if norm:
            known.append((site, origin.vector(norm) / vectors[norm]))
        else:
            others.append(site)
    at_norms = fold(known)
    return fold([*known, *((site, _of_rows(site, origin, stored, at_norms)) for site in others)])


def _of_rows(site: Site, origin: Origin, stored: Mapping[str, Stored], at_norms: Factors) -> "Floats":
    """A site's factors [channels]: how much longer the checkpoint's rows are than the artifact's, along them."""
    import numpy as np

    place = origin.rows_of(site.producers[0])
    assert place is not None
    name, start = place
    numbers = start + site.first_row + np.arange(site.n_channels)
    right = np.concatenate(list(origin.blocks(name, at_norms)()))[numbers]
    ours = stored[name].rows(numbers)
    lengths, along = np.square(right).sum(axis=1), (right * ours).sum(axis=1)
    found: Floats = np.where(along > 0, lengths / np.where(along > 0, along, 1), 1).astype(np.float32)
    return found
