"""What every product of a decoder gets as its input on some text, computed one float layer at a time.

The layers are those of the fused graph, each as a graph of its own that ONNX Runtime loads, runs over all windows and
forgets: memory holds one layer and the residual stream of the text.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import Error, __version__
from .. import weights
from ..architectures.geometry import geometry
from ..checkpoint import Checkpoint
from ..fused import products
from ..fused.decoder import Decoder
from ..fused.graph import DATA_FILE, MODEL_FILE, Graph
from ..fused.matrix import Matrix
from ..fused.products import Scheme

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: gets a product's name in the fused graph, "blk.3.attn_qkv.weight", and its inputs float32 [tokens, columns]
Visitor = Callable[[str, "Floats"], None]
PRODUCTS = ("attn_qkv", "attn_output", "ffn_gate_up", "ffn_down")  # of a layer, in the order of the computation
_HIDDEN, _ADDED = "stream", "stream_added"  # the two parts of the residual stream, see `Decoder.layer`
_ERRORS_ONLY = 3


def walk(
    checkpoint: Checkpoint, windows: Sequence[Sequence[int]], visit: Visitor, *, threads: int = 1
) -> Iterator[int]:
    """Call `visit` with the inputs of each product of a layer, window by window, and yield the layer's number then.

    Layers follow each other as in the model. Needs onnx and onnxruntime: call it behind the fence of `child`.
    """
    import numpy as np

    tokens, ids = np.unique(np.concatenate([np.asarray(window) for window in windows]), return_inverse=True)
    numbered = np.split(ids.astype(np.int64), np.cumsum([len(window) for window in windows])[:-1])
    streams: list[dict[str, Any]] = [{} for _ in windows]
    for layer in range(geometry(checkpoint).n_layers):
        with tempfile.TemporaryDirectory(prefix="edgequant-layer-") as folder:
            _write(checkpoint, layer, tokens, Path(folder))
            session = _open(Path(folder), threads)
            for n, window in enumerate(numbered):
                streams[n] = _run(session, window, streams[n], visit)
            del session
        yield layer


def _write(checkpoint: Checkpoint, layer: int, tokens: "NDArray[np.int64]", folder: Path) -> None:
    """Write one layer's graph, the first with an embedding of `tokens` alone."""
    with (folder / DATA_FILE).open("wb") as data:
        graph = Graph(data)

        def product(graph: Graph, matrix: Matrix, x: str) -> str:
            graph.output(_input_of(matrix.name), "float32", (1, "tokens", matrix.n_columns))
            graph.node("Identity", [x], output=_input_of(matrix.name))
            return products.FLOAT.layers(graph, matrix, x)

        def embedding(graph: Graph, matrix: Matrix, ids: str) -> str:
            rows = graph.constant("rows", _rows(matrix, tokens))
            return graph.node("Gather", [rows, ids], axis=0)

        decoder = Decoder(graph, checkpoint, Scheme(layers=product, head=products.FLOAT.head, embedding=embedding))
        ids = graph.input("input_ids", "int64", (1, "tokens"))
        decoder.mask()
        shape = (1, "tokens", decoder.model.hidden)
        before = (graph.input(_HIDDEN, "float32", shape), graph.input(_ADDED, "float32", shape)) if layer else None
        after = decoder.layer(layer, *(before or (decoder.embedding(ids), "")))
        for name, value in zip((_HIDDEN, _ADDED), after, strict=True):
            graph.output(f"next_{name}", "float32", shape)
            graph.node("Identity", [value], output=f"next_{name}")
    graph.write(folder / MODEL_FILE, name=f"layer {layer}", producer=("edgequant", __version__), metadata={})


def _input_of(product: str) -> str:
    return f"input of {product}"


def _rows(matrix: Matrix, tokens: "NDArray[np.int64]") -> "Floats":
    """The embedding of some tokens, read row by row."""
    import numpy as np

    (piece,) = (piece for part in matrix.parts for piece in part.pieces)
    if int(tokens.max()) >= piece.n_rows:
        raise Error(f"the tokenizer has the token {int(tokens.max())}, the embedding {piece.n_rows} rows")
    return np.concatenate([weights.read_rows(piece.tensor, piece.first_row + int(token), 1) for token in tokens])


def _open(folder: Path, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    return ort.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])


def _run(session: Any, ids: "NDArray[np.int64]", stream: dict[str, Any], visit: Visitor) -> dict[str, Any]:
    """Run a layer over one window without a past; returns the residual stream behind it."""
    import numpy as np

    given = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64), **stream}
    for value in session.get_inputs():
        if value.name not in given:  # keys and values of the past
            given[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    named = [value.name for value in session.get_outputs() if not value.name.startswith("present.")]
    found = dict(zip(named, session.run(named, given), strict=True))
    for name, values in found.items():
        if name.startswith(_input_of("")):
            visit(name.removeprefix(_input_of("")), values[0])
    return {part: found[f"next_{part}"] for part in (_HIDDEN, _ADDED)}
