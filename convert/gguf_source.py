"""A GGUF as a source: dequantise it into a Hugging Face folder of float32 safetensors, configuration and tokenizer."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from . import grid, safetensors_writer
from .architectures import rope
from .architectures.table import ARCHITECTURES
from .atomic import replacing
from .checkpoint import PROVENANCE_FILE, QuantisedSource
from .gguf_config import GgufModel, config_json
from .rescale import Factors, apply, random_factors
from .safetensors_header import read_header
from .safetensors_writer import TensorToWrite
from .vocabulary import from_gguf

if TYPE_CHECKING:
    import numpy as np
    from gguf import ReaderTensor
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Progress = Callable[[int, int], None]

_RESCALE_SEED = 0
_BLOCK_BYTES = 16 * 2**20  # of float32 made at once
_UNQUANTISED = ("F32", "F16", "BF16")  # a file of these is no quantised source
#: architectures that are read back: llama.cpp's name -> transformers' class
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def dequantise(path: Path, folder: Path, *, rescale: bool = False, progress: "Progress | None" = None) -> None:
    """Write the model in `path` as a Hugging Face folder; `progress` gets (tensors done, tensors in all).

    `rescale` takes the weights off their quantisation grid without changing the function (convert/rescale.py).
    Raises `Error` for a file that is no whole, single GGUF of a known architecture, tokenizer and tensor type. The
    folder appears whole or not at all; one that an earlier call wrote is replaced.
    """
    source = _open(path)
    if folder.exists() and any(folder.iterdir()) and not (folder / PROVENANCE_FILE).exists():
        raise Error(f"{folder} exists and holds something else", hint="name another folder")
    with replacing(folder) as partial:
        partial.mkdir()
        _write_folder(source, partial, rescaled=rescale, progress=progress)


def outline(path: Path, folder: Path) -> tuple[list[tuple[str, tuple[int, ...]]], QuantisedSource | None]:
    """Write the same folder without its weights; returns the tensors that it would have, and what they come from.

    The file is mapped, and its header alone is touched. Raises `Error` as `dequantise` does.
    """
    source = _open(path)
    folder.mkdir(parents=True, exist_ok=True)
    config = _write_companions(source, folder)
    tensors = [(tensor.name, tensor.shape) for tensor in _tensors(source, config, None)]
    kind = _main_type(source)
    origin = QuantisedSource(path=str(path), type=kind, size_bytes=path.stat().st_size)
    return tensors, None if kind in _UNQUANTISED else origin


def _write_folder(source: GgufModel, folder: Path, *, rescaled: bool, progress: "Progress | None") -> None:
    config = _write_companions(source, folder)
    factors = random_factors(config, seed=_RESCALE_SEED) if rescaled else None
    weights = folder / "model.safetensors"
    safetensors_writer.write(weights, _tensors(source, config, factors), progress=progress)
    _write_json(folder / PROVENANCE_FILE, _provenance(source, weights, rescaled=rescaled))


def _write_companions(source: GgufModel, folder: Path) -> dict[str, Any]:
    """Configuration, tokenizer and model card; returns the configuration."""
    config = config_json(source)
    vocabulary = from_gguf.save(source.metadata, folder, context=config["max_position_embeddings"])
    ids = {f"{name}_token_id": vocabulary.special[name] for name in ("bos", "eos", "pad") if name in vocabulary.special}
    _write_json(folder / "config.json", {**config, **ids})
    _write_json(folder / "generation_config.json", {**ids, **_stop_tokens(source, ids)})
    (folder / "README.md").write_text(_card(source), encoding="utf-8")
    return config


def _card(source: GgufModel) -> str:
    """A model card with what the file says to people, so that what is made from it says the same."""
    get = source.metadata.get
    base = [get(f"general.base_model.{n}.repo_url") for n in range(int(get("general.base_model.count") or 0))]
    fields = {
        "license": get("general.license"),
        "license_name": get("general.license.name"),
        "license_link": get("general.license.link"),
        "author": get("general.author"),
        "language": get("general.languages"),
        "tags": get("general.tags"),
        "base_model": [each for each in base if each],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items() if value]  # JSON is YAML
    return "\n".join(("---", *lines, "---", ""))


def _stop_tokens(source: GgufModel, ids: Mapping[str, int]) -> dict[str, list[int]]:
    end_of_turn = source.metadata.get("tokenizer.ggml.eot_token_id")
    stops = [token for token in dict.fromkeys([ids.get("eos_token_id"), end_of_turn]) if token is not None]
    return {"eos_token_id": stops} if len(stops) > 1 else {}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _open(path: Path) -> GgufModel:
    import gguf

    if not path.is_file():
        raise Error(f"{path} does not exist or is no file")
    try:
        reader = gguf.GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        raise Error(f"{path} is no GGUF file, or is cut short: {error}", hint="download or copy it again") from None
    if reader.endianess != gguf.GGUFEndian.LITTLE:
        raise Error(f"{path} is a big-endian GGUF, which is not supported")
    if int(metadata.get("split.count") or 1) > 1:
        raise Error(
            f"{path} is one part of a split GGUF, which is not supported",
            hint="merge the parts first: llama-gguf-split --merge FIRST_PART WHOLE",
        )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if not tensors:
        raise Error(f"{path} holds a vocabulary only, no weights")
    _check_types(path, tensors)
    name = str(metadata.get("general.architecture"))
    if name not in _CLASSES:
        raise Error(
            f"{path} is of the architecture {name}, which is not supported as a source",
            hint=f"known: {', '.join(_CLASSES)}; start from the model's Hugging Face checkpoint",
        )
    return GgufModel(
        path=path,
        metadata=metadata,
        tensors=tensors,
        gguf_architecture=name,
        class_name=_CLASSES[name],
        row=ARCHITECTURES[_CLASSES[name]],
    )


def _check_types(path: Path, tensors: Mapping[str, "ReaderTensor"]) -> None:
    import numpy as np
    from gguf import GGML_QUANT_SIZES, quants

    for kind in sorted({tensor.tensor_type for tensor in tensors.values()}):
        try:
            quants.dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
        except NotImplementedError:
            raise Error(
                f"{path} holds weights of type {kind.name}, which cannot be dequantised",
                hint="use another quantisation of the model, or its unquantised checkpoint",
            ) from None


def _tensors(source: GgufModel, config: Mapping[str, Any], factors: Factors | None) -> list[TensorToWrite]:
    names: dict[str, str] = {}
    for theirs, rule in source.row.tensors.items():
        if rule.when in ("", "!tied"):  # biases that only some checkpoints have are not read back
            for layer in range(config["num_hidden_layers"] if "{l}" in theirs else 1):
                names[rule.gguf.replace("{l}", str(layer))] = theirs.replace("{l}", str(layer))
    if config["tie_word_embeddings"]:
        names.pop("output.weight")
    missing, unknown = names.keys() - source.tensors.keys(), source.tensors.keys() - names.keys() - {rope.FACTORS}
    for what, found in (("lacks", missing), ("holds an unknown tensor,", unknown)):
        if found:
            raise Error(f"{source.path} {what} {min(found)}", hint=f"known: {source.class_name}'s tensors")
    return [_planned(source, config, factors, ours=ours, theirs=theirs) for ours, theirs in names.items()]


def _planned(
    source: GgufModel, config: Mapping[str, Any], factors: Factors | None, *, ours: str, theirs: str
) -> TensorToWrite:
    tensor = source.tensors[ours]
    order = _row_order(source, config, theirs, n_rows=int(tensor.shape[-1]))

    def blocks() -> Iterator["Floats"]:
        first_row = 0
        for block in _dequantised(tensor, order):
            yield block if factors is None else apply(theirs, block, factors, first_row=first_row)
            first_row += len(block)

    return TensorToWrite(name=theirs, shape=tuple(int(n) for n in reversed(tensor.shape)), blocks=blocks)


def _row_order(source: GgufModel, config: Mapping[str, Any], name: str, *, n_rows: int) -> "NDArray[np.int64] | None":
    """Where transformers' rows of q and k stand in a file for llama.cpp's interleaved rotary embedding, else None.

    llama.cpp rotates neighbours (0, 1), (2, 3), ...; transformers rotates halves (0, d/2), (1, d/2 + 1), ...
    """
    import numpy as np

    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    n_heads = next((n for module, n in heads.items() if module in name), None)
    if n_heads is None or source.gguf_architecture != "llama":
        return None
    return np.arange(n_rows).reshape(n_heads, -1, 2).swapaxes(1, 2).ravel()


def _dequantised(tensor: "ReaderTensor", order: "NDArray[np.int64] | None") -> Iterator["Floats"]:
    """Blocks of whole rows in float32; quantised rows are bytes, so any order of rows can be taken from the map."""
    from gguf import quants

    if tensor.data.ndim == 1:  # a vector of a byte type is one row of bytes
        yield quants.dequantize(tensor.data, tensor.tensor_type)[slice(None) if order is None else order]
        return
    data = tensor.data if order is None else tensor.data[order]
    rows_at_once = max(1, _BLOCK_BYTES // (4 * int(tensor.shape[0])))
    for first in range(0, len(data), rows_at_once):
        yield quants.dequantize(data[first : first + rows_at_once], tensor.tensor_type)


def _main_type(source: GgufModel) -> str:
    """The tensor type that holds most weights."""
    kinds = Counter[str]()
    for tensor in source.tensors.values():
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    return kinds.most_common(1)[0][0]


def _provenance(source: GgufModel, weights: Path, *, rescaled: bool) -> dict[str, Any]:
    kind = _main_type(source)
    with source.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    origin = {"path": str(source.path), "type": kind, "size_bytes": source.path.stat().st_size, "sha256": digest}
    found = grid.recognise_tensors(read_header(weights))
    return {
        "source_sha256": digest,
        "rescaled": rescaled,
        "grid": found.name if found else "",
        **({} if kind in _UNQUANTISED else {"quantised_source": origin}),
    }
