"""What ONNX Runtime computes with a graph's weights, against numpy on the same weights: are the kernels right?

Of each kind of product the first and the last are watched: their inputs and results become outputs of the graph beside
its own. numpy rounds the same activations as the format says (`onnx_rounding`) and multiplies them with the weights
that it dequantises from the same bytes. Several tokens at a time and one alone take different kernels, so both are
looked at.

Allowed errors, relative to the product's own size. Seen on SmolLM2-135M in all formats, on x86 with VNNI: up to 8e-5 of
a matrix and 4e-4 of a row, where one activation lies so near the middle of two steps that it is rounded the other way,
else 1e-6. In a row of 64 activations one such costs up to 0.3 and 1.2 %. On x86 without VNNI, where sums of two
products are cut off at 16 bits, int8 weights that use all of their range were 30 and 290 % off (with a scale a token)
and 250 and 1300 % (with one a tensor). MatMulNBits may round its activations in blocks, as it does on x86, or not at
all; where it rounds them in another way, it may cost no more than a scale for each token does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..convert.fused.graph import MODEL_FILE
from ..convert.fused.message import field, text
from ..runtimes import ort
from ..runtimes.session import Settings
from .finding import FAILED, NOT_CHECKED, PASSED, Finding
from .kernels import spread
from .onnx_matrices import Product, Rounding, products
from .onnx_rounding import rounded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALLOWED_OF_MATRIX = 0.01
ALLOWED_OF_ROW = 0.03  # of the root mean square over the rows, so that rows of small results do not speak
_ALLOWED_OF_OTHERS = 1.5  # times what rounding with a scale for each token costs
_N_BATCH = 33  # no multiple of the 4, 8 or 16 rows that kernels take at once
_OWN = {"input_ids", "logits"}  # inputs and outputs of the graph as it is


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How far a product lies off numpy's: of the whole, and of the worst row."""

    name: str
    kind: str
    of_matrix: float
    of_row: float
    is_right: bool


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare products of the graph in `job["path"]` computed over `job["tokens"]`, under `job["settings"]`: a finding.

    Behind the fence.
    """
    folder, tokens = Path(job["path"]), list(job["tokens"])
    chosen = _chosen(products(folder))
    session = _Watched(folder, chosen, Settings(**job["settings"]))
    found = []
    for part in (tokens[: min(_N_BATCH, len(tokens) - 1)], tokens[-1:]):
        seen = session.run(part)
        found += [compared(each, seen[each.x], seen[each.y]) for each in chosen]
    return _judge(found).to_json()


def _chosen(found: Sequence[Product]) -> list[Product]:
    """Of each operator, type, rounding and shape the first and the last product, which covers every kernel in use."""
    groups: dict[tuple[Any, ...], list[Product]] = {}
    for each in found:
        key = (each.operator, each.weights.kind, each.rounding.way, each.weights.n_rows, each.weights.n_columns)
        groups.setdefault(key, []).append(each)
    ends = [end for group in groups.values() for end in (group[0], group[-1])]
    return list({each.y: each for each in ends}.values())


class _Watched:
    """The graph with more outputs; it starts anew at each run."""

    def __init__(self, folder: Path, chosen: Sequence[Product], settings: Settings) -> None:
        names = {name for each in chosen for name in (each.x, each.y)}
        model = with_outputs((folder / MODEL_FILE).read_bytes(), sorted(names - _OWN))
        self._session = ort.load(folder / MODEL_FILE, settings, model=model)
        self._inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._names = sorted(names - set(self._inputs))

    def run(self, token_ids: Sequence[int]) -> dict[str, Any]:
        """Name -> value of all that is watched, and of the inputs."""
        import numpy as np

        n = len(token_ids)
        given: dict[str, Any] = {
            "input_ids": np.array([token_ids], np.int64),
            "attention_mask": np.ones((1, n), np.int64),
            "position_ids": np.arange(n, dtype=np.int64)[None],
        }
        feed = {name: value for name, value in given.items() if name in self._inputs}
        for name, shape in self._inputs.items():
            if name.startswith(ort.PAST):
                feed[name] = np.zeros((1, shape[1], 0, shape[3]), np.float32)
        return feed | dict(zip(self._names, self._session.run(self._names, feed), strict=True))


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """The graph of these bytes with the named values as further outputs.

    Where a message of a protocol buffer holds a field twice, the two are merged: what is appended is a second graph
    (ModelProto 7) of nothing but outputs (GraphProto 12), each with its name (ValueInfoProto 1).
    """
    return model + field(7, b"".join(field(12, text(1, name)) for name in names))


def compared(product: Product, x: "NDArray[Any]", y: "Floats") -> Compared:
    """How far what was computed lies off numpy's; `x` and `y` are [1, tokens, ...] or [tokens, ...]."""
    stored = product.weights
    x, y = x.ravel() if product.looks_up else x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    name = f"{stored.name} ({product.operator}, {stored.kind}, {len(x)} token{'s'[: len(x) > 1]})"
    if product.looks_up:
        off, of_row, is_right = _off(stored.rows(x).T, y.T)
        return Compared(name=name, kind=stored.kind, of_matrix=off, of_row=of_row, is_right=is_right)
    rows = spread(stored.n_rows)
    weights = stored.rows(rows)
    y = y[:, rows] - (0 if product.bias is None else product.bias[rows])
    right = [rounded(x, way) @ weights.T for way in _ways(product.rounding)]
    off, of_row, is_right = min(_off(each, y) for each in right)
    if not is_right and product.rounding.way == "blocks":
        matrix, row, _ = _off(right[-1], rounded(x, Rounding(way="token")) @ weights.T)
        is_right = off <= _ALLOWED_OF_OTHERS * matrix and of_row <= _ALLOWED_OF_OTHERS * row
    return Compared(name=name, kind=stored.kind, of_matrix=off, of_row=of_row, is_right=is_right)


def _ways(stated: Rounding) -> list[Rounding]:
    """What a format's rounding may be; the last one is the least that is done."""
    return [stated, replace(stated, way="none")] if stated.way == "blocks" else [stated]


def _off(right: "Floats", computed: "Floats") -> tuple[float, float, bool]:
    """How far results [tokens, rows] lie off: of the matrix, of the worst row, and whether that is allowed."""
    import numpy as np

    off, size = np.linalg.norm(right - computed, axis=0), float(np.linalg.norm(right)) or 1.0
    of_matrix, of_row = float(np.linalg.norm(off)) / size, float(off.max()) / (size / len(off) ** 0.5)
    if not np.isfinite(of_matrix):
        return float("inf"), float("inf"), False
    return of_matrix, of_row, of_matrix <= ALLOWED_OF_MATRIX and of_row <= ALLOWED_OF_ROW


def _judge(compared: Sequence[Compared]) -> Finding:
    if not compared:
        return Finding(verdict=NOT_CHECKED, said="no product in the graph whose operator is known here")
    samples = tuple(each.of_matrix for each in compared if each.of_matrix < float("inf"))
    wrong = [each for each in compared if not each.is_right]
    if wrong:
        worst = max(wrong, key=lambda each: each.of_row)
        said = f"{worst.name}: {worst.of_matrix:.1%} off numpy's product ({worst.of_row:.1%} in a row)"
        others = f"; {len(wrong) - 1} of {len(compared)} products are off as well" if len(wrong) > 1 else ""
        return Finding(verdict=FAILED, said=f"{said}, {ALLOWED_OF_MATRIX:.0%} is allowed{others}", samples=samples)
    kinds = ", ".join(dict.fromkeys(each.kind for each in compared))
    return Finding(
        verdict=PASSED, said=f"{len(compared)} products within {max(samples):.1e} of numpy's ({kinds})", samples=samples
    )
