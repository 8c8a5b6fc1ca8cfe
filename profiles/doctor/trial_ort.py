"""ONNX Runtime's kernels, each tried in a graph of one operator, and what the library says of itself.

All behind the fence.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...convert.architectures.layout import plan
from ...convert.checkpoint import open_folder
from ...convert.fused.graph import CONTRIB, DATA_FILE, MODEL_FILE, Graph
from ...convert.fused.matrix import Matrix
from ...convert.fused.schemes import scheme
from ...convert.onnx_options import OnnxOptions
from ...runtimes import ort
from ...runtimes.session import Settings
from ...verify.onnx_matrices import products
from ...verify.onnx_products import compared
from .trial_model import CONTEXT, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, VOCABULARY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_BATCH = 33  # no multiple of the 4, 8 or 16 rows that kernels take at once
#: of the attention's size, against numpy in float64; the kernel's exponential is an approximation (seen: 3e-7)
ALLOWED_OF_ATTENTION = 1e-4
_MATRIX = "blk.0.ffn_gate.weight"


def describe(job: Mapping[str, Any]) -> dict[str, Any]:
    """Version, build and providers."""
    import onnxruntime

    build = [part.strip() for part in onnxruntime.get_build_info().removeprefix("ORT Build Info:").split(",")]
    providers = onnxruntime.get_available_providers()
    return {"version": onnxruntime.__version__, "build": build, "providers": providers}


def product(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """A matrix in the ONNX format `job["format"]` times random activations, several tokens and one.

    The format's own writer makes the graph, with `job["options"]`; the matrix is one of the checkpoint in
    `job["checkpoint"]`.
    """
    import numpy as np

    draw = np.random.default_rng(1).standard_normal
    given = [draw((1, n, HIDDEN)).astype(np.float32) for n in (_BATCH, 1)]
    return _compared(job, given, progress)


def look_up(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Rows of the embedding in the ONNX format `job["format"]`, as `product` has them."""
    import numpy as np

    ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, _BATCH))
    return _compared(job, [ids, ids[:, :1]], progress)


def _compared(
    job: Mapping[str, Any], given: "Sequence[NDArray[Any]]", progress: Callable[[str], None]
) -> dict[str, Any]:
    checkpoint = open_folder(Path(job["checkpoint"]), revision="random")
    options = OnnxOptions(**job.get("options", {})).job()
    how = scheme({"format": job["format"], "options": options}, checkpoint, progress)
    looks_up = given[0].ndim == 2
    name = "token_embd.weight" if looks_up else _MATRIX
    matrix = Matrix(name=name, parts=tuple(tensor for tensor in plan(checkpoint) if tensor.name == name))
    with _graph() as (graph, folder):
        x = graph.input("x", str(given[0].dtype), (1, "tokens", *given[0].shape[2:]))
        y = how.embedding(graph, matrix, x) if looks_up else how.layers(graph, matrix, x)
        graph.output(y, "float32", (1, "tokens", HIDDEN))
        session = _session(graph, folder)
        (found,) = products(folder)
        progress("products")
        seen = [compared(found, each, *session.run([y], {x: each})) for each in given]
    worst = max(seen, key=lambda each: each.of_matrix)
    said = f"{found.operator} {found.weights.kind} within {worst.of_matrix:.1e} of numpy's"
    return {"is_right": all(each.is_right for each in seen), "error": worst.of_matrix, "said": said}


@contextmanager
def _graph() -> Iterator[tuple[Graph, Path]]:
    """A graph in a folder that is removed at the end; what is streamed lies there at once."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / DATA_FILE).open("wb", 0) as data:
        yield Graph(data), Path(name)


def _session(graph: Graph, folder: Path) -> Any:
    graph.write(folder / MODEL_FILE, name="trial", producer=("edgequant", __version__), metadata={})
    return ort.load(folder / MODEL_FILE, Settings(threads=1, context=CONTEXT))


def integers(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """MatMulInteger of unsigned activations and signed weights from -127 to 127, which is to be exact.

    Weights of -128 are none that symmetric quantisation makes. Where there are no dot products onnxruntime 1.31.1 adds
    two products in 16 bits on ARM, which -128 times -128 twice overflows (seen under emulation of a Cortex-A53).
    """
    import numpy as np

    generator = np.random.default_rng(1)
    weights = generator.choice(np.array([-127, 127], np.int8), (HIDDEN, HIDDEN))
    given = [generator.choice(np.array([0, 255], np.uint8), (1, n, HIDDEN)) for n in (_BATCH, 1)]
    with _graph() as (graph, folder):
        x = graph.input("x", "uint8", (1, "tokens", HIDDEN))
        y = graph.node("MatMulInteger", [x, graph.constant("weights", weights)])
        graph.output(y, "int32", (1, "tokens", HIDDEN))
        session = _session(graph, folder)
        progress("products")
        pairs = [(session.run([y], {x: each})[0], each.astype(np.int64) @ weights) for each in given]
    return _judged("MatMulInteger", pairs, 0.0)


def attention(job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """GroupQueryAttention in float32 with rotary positions: several tokens, then one behind them."""
    import numpy as np

    turned = np.outer(np.arange(CONTEXT), 10000.0 ** (-2 * np.arange(HEAD_DIM // 2) / HEAD_DIM))
    shape = (1, _BATCH + 1, (HEADS + 2 * KV_HEADS) * HEAD_DIM)
    qkv = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    empty = np.zeros((1, KV_HEADS, 0, HEAD_DIM), np.float32)
    with _graph() as (graph, folder):
        names = _attention(graph, [np.cos(turned), np.sin(turned)])
        session = _session(graph, folder)
        progress("attention")
        first, *past = session.run(names, _feed(qkv[:, :_BATCH], [empty, empty]))
        last, *_ = session.run(names, _feed(qkv[:, _BATCH:], past))
    return _judged(
        "GroupQueryAttention", [(np.concatenate([first, last], 1), attended(qkv, turned))], ALLOWED_OF_ATTENTION
    )


def _attention(graph: Graph, caches: "Sequence[NDArray[Any]]") -> list[str]:
    """Add the operator as our decoder has it; the names of its results."""
    import numpy as np

    cache = (1, KV_HEADS, "past", HEAD_DIM)
    given = [graph.input("qkv", "float32", (1, "tokens", (HEADS + 2 * KV_HEADS) * HEAD_DIM)), "", ""]
    given += [graph.input(name, "float32", cache) for name in ("key", "value")]
    given += [graph.input("last", "int32", (1,)), graph.input("total", "int32", ())]
    given += [graph.constant(name, each.astype(np.float32)) for name, each in zip(("cos", "sin"), caches, strict=True)]
    found = graph.nodes(
        "GroupQueryAttention",
        given,
        outputs=3,
        domain=CONTRIB,
        num_heads=HEADS,
        kv_num_heads=KV_HEADS,
        scale=HEAD_DIM**-0.5,
        do_rotary=1,
    )
    graph.output(found[0], "float32", (1, "tokens", HEADS * HEAD_DIM))
    for name in found[1:]:
        graph.output(name, "float32", (1, KV_HEADS, "all", HEAD_DIM))
    return found


def _feed(qkv: "Floats", past: "Sequence[Floats]") -> "dict[str, NDArray[Any]]":
    import numpy as np

    n_all = past[0].shape[2] + qkv.shape[1]
    counts = {"last": np.array([n_all - 1], np.int32), "total": np.array(n_all, np.int32)}
    return {"qkv": qkv, "key": past[0], "value": past[1], **counts}


def attended(qkv: "Floats", turned: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Causal attention in numpy over q, k and v [1, tokens, all heads], rotated by `turned` [positions, half a head].

    Halves of a head are rotated as transformers does it (`rotate_half`); heads share keys and values in groups.
    """
    import numpy as np

    n = qkv.shape[1]
    heads = qkv[0].astype(np.float64).reshape(n, -1, HEAD_DIM).swapaxes(0, 1)
    cos, sin = np.cos(turned[:n]), np.sin(turned[:n])
    a, b = heads[: HEADS + KV_HEADS, :, : HEAD_DIM // 2], heads[: HEADS + KV_HEADS, :, HEAD_DIM // 2 :]
    rotated = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    keys, values = (np.repeat(each, HEADS // KV_HEADS, 0) for each in (rotated[HEADS:], heads[HEADS + KV_HEADS :]))
    scores = rotated[:HEADS] @ keys.swapaxes(1, 2) / HEAD_DIM**0.5
    scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found = weights / weights.sum(-1, keepdims=True) @ values
    mixed: NDArray[np.float64] = found.swapaxes(0, 1).reshape(1, n, -1)
    return mixed


def _judged(operator: str, pairs: "Sequence[tuple[NDArray[Any], NDArray[Any]]]", allowed: float) -> dict[str, Any]:
    """Whether results lie within `allowed` of the right ones' size, and the largest difference."""
    import numpy as np

    error = max(float(np.linalg.norm(seen - right) / np.linalg.norm(right)) for seen, right in pairs)
    said = f"{operator} within {error:.1e} of numpy's" if error else f"{operator} exact"
    return {"is_right": error <= allowed, "error": error, "said": said}
