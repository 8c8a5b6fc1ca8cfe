"""Writing a checkpoint as a fused ONNX graph, tensor by tensor, in a child process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ..atomic import replacing
from ..checkpoint import open_folder
from .decoder import Decoder
from .graph import DATA_FILE, MODEL_FILE, SHARED_BUFFER, Graph
from .products import FLOAT
from .schemes import scheme


def write(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write the checkpoint in `job["folder"]` to the folder `job["target"]` in the format `job["format"]`.

    Weights that are no finite numbers have no scale: `job["allow_nan"]` lets them into float32 alone.
    """
    checkpoint = open_folder(Path(job["folder"]), revision=job.get("revision", "not computed"))
    made = scheme(job, checkpoint, progress)
    progress("writes the graph")
    with replacing(Path(job["target"])) as partial:
        partial.mkdir()
        with (partial / DATA_FILE).open("wb") as data:
            graph = Graph(data)
            allow_nan = made is FLOAT and job.get("allow_nan", False)
            Decoder(graph, checkpoint, made, allow_nan=allow_nan).whole()
        graph.write(
            partial / MODEL_FILE,
            name=checkpoint.name,
            producer=("edgequant", __version__),
            metadata={SHARED_BUFFER: "true"},
        )
