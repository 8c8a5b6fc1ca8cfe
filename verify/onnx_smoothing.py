"""The factors by which an artifact's channels were rescaled before they were quantised, read back from it.

A smoothed artifact is to be its checkpoint but for factors that cancel (`convert.rescale`). A norm that was divided by
them says them exactly. Rows of up and v say them but for their rounding, whose part in a row's length is smaller than
in a weight by the root of the row's length. Rescaled by what was found, the checkpoint's weights must be the
artifact's: then what divides a channel in one place multiplies it in the other, and the float output is the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import Error
from ..convert.rescale import Factors, Site, fold, sites
from .onnx_origin import Origin
from .onnx_stored import Stored

_MOST_ROWS = 64  # of a consumer, by which a column is compared: no more than the first part of a packed one has

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def factors(origin: Origin, stored: Mapping[str, Stored], vectors: Mapping[str, Any]) -> Factors:
    """What divided and multiplied the checkpoint's tensors; `stored` matrices and `vectors` are the artifact's.

    A channel that is nothing in what stands before it says its factor in the columns that read it alone.
    """
    import numpy as np

    known: list[tuple[Site, Floats]] = []
    others: list[Site] = []
    for site in sites(origin.checkpoint.config):
        norm = origin.vector_of(site.producers[0])
        if norm:
            theirs, ours = origin.vector(norm), vectors[norm]
            found = np.divide(theirs, ours, out=np.zeros_like(theirs), where=(theirs != 0) & (ours != 0))
            known.append((site, _filled(found, site, origin, stored)))
        else:
            others.append(site)
    at_norms = fold(known)
    rows = [(site, _filled(_of_rows(site, origin, stored, at_norms), site, origin, stored)) for site in others]
    return fold([*known, *rows])


def _of_rows(site: Site, origin: Origin, stored: Mapping[str, Stored], at_norms: Factors) -> "Floats":
    """A site's factors [channels]: how much longer the checkpoint's rows are than the artifact's; 0 for no length."""
    import numpy as np

    name, start = _place(origin, site.producers[0], stored)
    numbers = start + site.first_row + np.arange(site.n_channels)
    right = np.concatenate(list(origin.blocks(name, at_norms)()))[numbers]
    ours = stored[name].rows(numbers)
    lengths, along = np.square(right).sum(axis=1), (right * ours).sum(axis=1)
    found: Floats = np.divide(lengths, along, out=np.zeros_like(along), where=along > 0)
    return found


def _filled(found: "Floats", site: Site, origin: Origin, stored: Mapping[str, Stored]) -> "Floats":
    """The factors, those that are 0 from the columns of the first consumer, whose rows nothing rescales."""
    import numpy as np

    missing = np.flatnonzero(found == 0)
    if not missing.size:
        return found
    name, start = _place(origin, site.consumers[0], stored)
    head, within = np.divmod(missing, site.head_dim)
    columns = head * site.n_readers * site.head_dim + within
    right = np.concatenate(list(origin.blocks(name)()))[start : start + _MOST_ROWS][:, columns]
    ours = stored[name].rows(np.arange(start, start + len(right)))[:, columns]
    lengths, along = np.square(right).sum(axis=0), (right * ours).sum(axis=0)
    found = found.copy()
    found[missing] = np.divide(along, lengths, out=np.ones_like(along), where=(lengths > 0) & (along > 0))
    return found


def _place(origin: Origin, tensor: str, stored: Mapping[str, Stored]) -> tuple[str, int]:
    """The product that holds a tensor, and its first row there; `Error` where the graph has no such product."""
    place = origin.rows_of(tensor)
    if place is None or place[0] not in stored:
        raise Error(f"the graph holds no product with {tensor}")
    return place
