"""What llama.cpp computes with a file's quantised matrices, against numpy on the same weights: are the kernels right?

A coarse format and a kernel that computes wrong values look alike in the logits. Here they do not: the activations
that went into a product and what came out are taken from llama.cpp's own run (`cb_eval`), and numpy multiplies them
with the weights that `gguf.quants` dequantises from the same bytes. What remains is the rounding of activations to 8
bits, which all of llama.cpp's quantised kernels do. Several tokens at a time and one alone take different kernels, so
both are looked at, with the repacked kernels where the machine runs them.

Allowed errors, relative to the product's own size. Rounding to 8 bits in blocks of 256 (Q8_K) costs at most 3.6 % of
an activation vector, where one value holds all of it (step = largest / 127, so 256 values are off by step / sqrt(12)
each), and 0.5 % where all values are alike. Seen on the pocket model and on SmolLM2-135M, in eight formats, repacked
and not: 0.4 to 4.4 % over a whole matrix, up to 15 % in a single row of small results. A kernel that gets one block
of a row wrong is off by far more.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from ..convert.artifact import files_of
from ..convert.llama_library import library
from ..runtimes.llamacpp import LlamaCppSession
from ..runtimes.session import Settings
from .finding import FAILED, NOT_CHECKED, PASSED, Finding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALLOWED_OF_MATRIX = 0.10
ALLOWED_OF_ROW = 0.50  # of the root mean square over the rows, so that rows of small results do not speak
_N_BATCH = 33  # no multiple of the 4, 8 or 16 columns that kernels take at once
_MOST_ROWS = 1024  # of one matrix: an embedding has 150,000
_UNQUANTISED = ("F32", "F16", "BF16", "F64")
_F32 = 0  # ggml.h, enum ggml_type


class _Tensor(ctypes.Structure):
    """ggml.h, struct ggml_tensor, as far as `name`; ggml has no function that tells a result's sources."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare products of the GGUF `job["path"]` computed over `job["tokens"]`, under `job["settings"]`: a finding.

    Of the types `job["types"]` alone where it names some, floats among them. Behind the fence.
    """
    wanted = _chosen(job["path"], job.get("types", ()))
    if not wanted:
        return Finding(verdict=NOT_CHECKED, said="no quantised matrix in the file").to_json()
    watch = _Watch(wanted)
    session = _Watched(job["path"], Settings(**job["settings"]), watch.callback)
    tokens: Sequence[int] = job["tokens"]
    for part in (tokens[: min(_N_BATCH, len(tokens) - 1)], tokens[-1:]):
        session.evaluate(part, logits="all")
    return _judge([_Product(wanted[name], *rest) for name, *rest in watch.seen.values()]).to_json()


class _Watched(LlamaCppSession):
    """A session that lets a callback see every tensor as it is computed."""

    def __init__(self, path: str, settings: Settings, callback: Any) -> None:
        self._callback = callback
        super().__init__(path, settings)

    def _context_params(self, settings: Settings) -> Any:
        params = super()._context_params(settings)
        params.cb_eval = self._callback
        return params


def _chosen(path: str, types: Sequence[str]) -> dict[str, Any]:
    """Name -> tensor: of each type and shape the first and the last matrix, which covers every kernel in use."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for tensor in _tensors(path):
        name = tensor.tensor_type.name
        is_wanted = name in types if types else name not in _UNQUANTISED
        if is_wanted and len(tensor.shape) == 2:
            groups.setdefault((name, *map(int, tensor.shape)), []).append(tensor)
    return {tensor.name: tensor for group in groups.values() for tensor in (group[0], group[-1])}


def _tensors(path: str) -> Iterator[Any]:
    """Tensors of the file, or of all parts of one that was split; `Error` where one does not read."""
    import gguf

    for file in files_of(Path(path)):
        try:
            yield from gguf.GGUFReader(file).tensors
        except (ValueError, IndexError, KeyError) as error:  # each in its own way, where the file ends too early
            raise Error(f"{file.name} is damaged: {error}", hint="make or download it again") from None


class _Watch:
    """Keeps inputs and outputs of the products with the wanted matrices, as llama.cpp computes them."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self.seen: dict[tuple[str, int], tuple[str, Floats, Floats]] = {}
        self.callback = library().ggml_backend_sched_eval_callback(self._look)

    def _look(self, address: int, ask: bool, data: Any) -> bool:
        """llama.cpp asks whether a tensor is of interest, and calls again once it is computed; True goes on."""
        result = ctypes.cast(address, ctypes.POINTER(_Tensor)).contents
        if not self._is_product(result):
            return not ask
        if not ask:
            name, n = result.src[0].contents.name.decode(), int(result.ne[1])
            self.seen.setdefault((name, min(n, 2)), (name, _values(result.src[1].contents), _values(result)))
        return True

    def _is_product(self, result: _Tensor) -> bool:
        """Whether it is wanted weights [K, M] times activations [K, n], both float32 and without gaps."""
        if not result.src[0] or not result.src[1] or result.type != _F32:
            return False
        weights, activations = result.src[0].contents, result.src[1].contents
        tensor = self._wanted.get(weights.name.decode("utf-8", "replace"))
        if tensor is None or activations.type != _F32 or activations.nb[1] != 4 * activations.ne[0]:
            return False
        k, m = (int(length) for length in tensor.shape)
        shapes = (list(weights.ne), list(activations.ne), list(result.ne))
        return bool(shapes == ([k, m, 1, 1], [k, (n := activations.ne[1]), 1, 1], [m, n, 1, 1]))


def _values(tensor: _Tensor) -> "Floats":
    import numpy as np

    pointer = ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_float))
    values: Floats = np.ctypeslib.as_array(pointer, shape=(int(tensor.ne[1]), int(tensor.ne[0]))).copy()
    return values


class _Product:
    """One product, and how far llama.cpp's differs from numpy's."""

    def __init__(self, tensor: Any, activations: "Floats", computed: "Floats") -> None:
        import numpy as np
        from gguf import quants

        rows = spread(len(tensor.data))
        weights = quants.dequantize(np.ascontiguousarray(tensor.data[rows]), tensor.tensor_type)
        right = activations @ weights.T
        off = np.linalg.norm(right - computed[:, rows], axis=0)
        size = float(np.linalg.norm(right)) or 1.0
        self.name = f"{tensor.name} ({tensor.tensor_type.name}, {len(activations)} token{'s'[: len(activations) > 1]})"
        self.type = tensor.tensor_type.name
        self.of_matrix = float(np.linalg.norm(off)) / size
        self.of_row = float(off.max()) / (size / len(rows) ** 0.5)


def spread(n_rows: int) -> "NDArray[np.int64]":
    """Up to `_MOST_ROWS` rows in runs of 64, the first and the last among them: kernels take 4 to 16 rows at once."""
    import numpy as np

    if n_rows <= _MOST_ROWS:
        return np.arange(n_rows)
    starts = np.linspace(0, n_rows - 64, _MOST_ROWS // 64).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(64)).ravel())


def _judge(products: Sequence[_Product]) -> Finding:
    if not products:
        said = "llama.cpp shows no product of a quantised matrix"
        return Finding(verdict=NOT_CHECKED, said=said)
    samples = tuple(product.of_matrix for product in products)
    wrong = [p for p in products if not (p.of_matrix <= ALLOWED_OF_MATRIX and p.of_row <= ALLOWED_OF_ROW)]
    if wrong:
        worst = max(wrong, key=_badness)
        said = f"{worst.name}: {worst.of_matrix:.0%} off numpy's product ({worst.of_row:.0%} in a row)"
        return Finding(verdict=FAILED, said=f"{said}, {ALLOWED_OF_MATRIX:.0%} is allowed", samples=samples)
    types = ", ".join(dict.fromkeys(product.type for product in products))
    said = f"{len(products)} products within {max(samples):.1%} of numpy's ({types})"
    return Finding(verdict=PASSED, said=said, samples=samples)


def _badness(product: _Product) -> float:
    return product.of_matrix if product.of_matrix == product.of_matrix else float("inf")  # NaN is worst


def dequantised_rows(path: str) -> Iterator[tuple[str, str, tuple[int, ...], Callable[[Any], "Floats"]]]:
    """(name, type, shape with rows first, rows -> float32) of every matrix in a GGUF, all parts of a split one."""
    import numpy as np
    from gguf import quants

    for tensor in _tensors(path):
        if len(tensor.shape) < 2:
            continue
        data, kind = tensor.data.reshape(-1, tensor.data.shape[-1]), tensor.tensor_type

        def read(rows: Any, data: Any = data, kind: Any = kind) -> Any:
            return quants.dequantize(np.ascontiguousarray(data[rows]), kind)

        yield tensor.name, kind.name, tuple(int(n) for n in reversed(tensor.shape)), read
