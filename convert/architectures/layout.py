"""Which tensors a GGUF file of a checkpoint has, and which rows of the checkpoint make up each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ... import Error
from ..checkpoint import Checkpoint
from ..safetensors_header import TensorInfo
from .geometry import Geometry, geometry
from .row import Architecture, Tensor
from .table import find
from .unpacked import unpacked

Shape = tuple[int, ...]
Runs = list[tuple[int, int]]  # of rows or columns: first, count
VALUE_OPS = ("rotary", "plus_one", "minus_exp", "transposed")
_HEAD = "output.weight"
_BUFFERS = (".rotary_emb.inv_freq",)  # saved by older versions of transformers


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`n_rows` rows of one tensor of the checkpoint, each `step`th from `first_row` on; a vector's are its elements."""

    tensor: TensorInfo
    first_row: int
    n_rows: int
    step: int = 1


@dataclass(frozen=True, kw_only=True)
class PlannedTensor:
    """One tensor of the GGUF file: `shape` in numpy's order, its rows in the order of `pieces`.

    `op` is "" or what is done to the values, one of `VALUE_OPS` (see `row.Tensor`); `head_rows` is the length of a
    head, in rows; `columns` are runs of columns (first, count) in the file's order, () for that of the checkpoint.
    """

    name: str
    shape: Shape
    pieces: tuple[Piece, ...]
    op: str = ""
    head_rows: int = 1
    columns: tuple[tuple[int, int], ...] = ()

    @property
    def n_elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


def sizes(model: Geometry, layer: int) -> dict[str, int]:
    """The lengths that `row.Tensor.shape` names, in one layer."""
    head, n_kv_heads = model.heads_of(layer)
    q, kv, width = model.n_heads * head, n_kv_heads * head, model.width_of(layer)
    return {
        "vocabulary": model.vocabulary,
        "context": model.context,
        "hidden": model.hidden,
        "intermediate": width,
        "gate_up": 2 * width,
        "q": q,
        "kv": kv,
        "qkv": q + 2 * kv,
        "head": head,
        "heads": model.n_heads,
        "kv_heads": n_kv_heads,
        "experts": model.n_experts,
        "expert_intermediate": model.expert_intermediate,
        "shared_intermediate": model.shared_intermediate,
        "conv_kernel": model.conv_kernel,
        "three_hidden": 3 * model.hidden,
        "q_and_gate": 2 * q,
        "gate_up_experts": 2 * model.expert_intermediate,
        "per_layer": model.per_layer_size,
        "all_per_layer": model.n_layers * model.per_layer_size,
        "one": 1,
        "linear_qkv": 2 * model.linear_key_heads * model.linear_head_dim + model.linear_values,
        "linear_values": model.linear_values,
        "linear_value_heads": model.linear_value_heads,
        "linear_head": model.linear_head_dim,
    }


def plan(checkpoint: Checkpoint) -> list[PlannedTensor]:
    """Every tensor of the file, in the file's order.

    Raises `Error` for a tensor that the architecture does not explain, one that is missing, and a shape that
    config.json does not give.
    """
    row, model = find(checkpoint), geometry(checkpoint)
    found = _named(checkpoint, row)
    planned: list[PlannedTensor] = []
    used: set[str] = set()
    for name, rule, layer in _by_layer(row.tensors, model.n_layers):
        sources = _sources(name, layer, model)
        applies = _applies(rule, model, layer)
        if applies or rule.when.endswith("?"):
            used.update(sources)
        if not applies:
            continue
        planned += _planned(checkpoint, found, sources, rule, layer, model=model)
    if row.writes_head and model.tied:
        embedding = next(tensor for tensor in planned if tensor.name == "token_embd.weight")
        planned.append(PlannedTensor(name=_HEAD, shape=embedding.shape, pieces=embedding.pieces))
    spare = {name for name, rule in row.tensors.items() if rule.gguf == _HEAD} if model.tied else set()
    unknown = sorted(found.keys() - used - spare)
    if unknown:
        raise Error(
            f"{checkpoint.source} holds a tensor that {checkpoint.architecture} does not explain: {unknown[0]}",
            hint="config.json does not say what it is for, so a converter that left it out would change the model",
        )
    return planned


def _named(checkpoint: Checkpoint, row: Architecture) -> dict[str, TensorInfo]:
    """The checkpoint's tensors under the names that the table has for them, without those that do not count."""
    found: dict[str, TensorInfo] = {}
    for name, tensor in checkpoint.tensors.items():
        if any(part in name for part in row.ignored) or name.endswith(_BUFFERS):
            continue
        theirs = next((prefix for prefix in row.prefixes if name.startswith(prefix)), "")
        found[row.prefixes.get(theirs, "") + name.removeprefix(theirs)] = tensor
    return unpacked(found, row.others)


def _applies(rule: Tensor, model: Geometry, layer: int) -> bool:
    if not rule.when:
        return True
    flag = getattr(model, rule.when.strip("!?"))
    return bool(flag[layer] if isinstance(flag, tuple) else flag) != rule.when.startswith("!")


def _by_layer(expected: Mapping[str, Tensor], n_layers: int) -> Iterator[tuple[str, Tensor, int]]:
    """(name, rule, layer): the model's own tensors first, then layer by layer."""
    for name, rule in expected.items():
        if "{l}" not in name:
            yield name, rule, 0
    for layer in range(n_layers):
        for name, rule in expected.items():
            if "{l}" in name:
                yield name, rule, layer


def _sources(name: str, layer: int, model: Geometry) -> list[str]:
    """The tensors of the checkpoint that are stacked to one, which mostly are one."""
    name = name.replace("{l}", str(layer))
    counts = {"{e}": model.n_experts, "{h}": model.n_heads, "{k}": model.n_kv_heads}
    mark = re.search(r"\{[ehk]\}", name)
    return [name.replace(mark[0], str(i)) for i in range(counts[mark[0]])] if mark else [name]


def _planned(
    checkpoint: Checkpoint,
    found: Mapping[str, TensorInfo],
    sources: Sequence[str],
    rule: Tensor,
    layer: int,
    *,
    model: Geometry,
) -> list[PlannedTensor]:
    lengths = sizes(model, layer)
    shape = tuple(lengths[word] for word in rule.shape.split())
    expected = shape[1:] if len(sources) > 1 or "{" in rule.gguf.replace("{l}", "") else shape
    expected = expected if len(sources) == 1 and len(expected) == len(shape) else shape[1:]
    names, words = rule.gguf.replace("{l}", str(layer)).split(), rule.op.split()
    if len(names) > 1:
        expected = (expected[0], len(names) * expected[1], *expected[2:])
    if "transposed" in words and any(name in found and found[name].dtype == "MXFP4" for name in sources):
        words.remove("transposed")  # stored rows first, unlike the same tensor unquantised
    if "transposed" in words:
        expected = (*expected[:-2], expected[-1], expected[-2])
    pieces: list[Piece] = []
    for source in sources:
        if source not in found:
            raise Error(f"{checkpoint.source} lacks the tensor {source}", hint="the checkpoint is not complete")
        tensor = found[source]
        if not _same(tensor.shape, expected):
            raise Error(
                f"{checkpoint.source}: the tensor {source} has the shape {list(tensor.shape)}, "
                f"but config.json makes it {list(expected)}"
            )
        pieces += _pieces(tensor, words, model)
    whole = PlannedTensor(
        name=names[0],
        shape=shape,
        pieces=tuple(pieces),
        op=next((word for word in words if word in VALUE_OPS), ""),
        head_rows=model.head_dim,
        columns=tuple(_tiled(model, shape[-1])) if "tiled_columns" in words else (),
    )
    return [whole] if len(names) == 1 else [_in_turn(whole, name, n, len(names)) for n, name in enumerate(names)]


def _in_turn(whole: PlannedTensor, name: str, turn: int, of: int) -> PlannedTensor:
    """Every `of`th row, of a transposed tensor and of a bias every `of`th column, from the `turn`th on."""
    if whole.op == "transposed" or len(whole.shape) == 2:
        return replace(whole, name=name, columns=tuple((turn + of * n, 1) for n in range(whole.shape[1])))
    pieces = (replace(p, first_row=p.first_row + turn, n_rows=p.n_rows // of, step=of) for p in whole.pieces)
    return replace(whole, name=name, pieces=tuple(pieces))


def _same(found: Shape, expected: Shape) -> bool:
    """Equal but for rows of length one, which some checkpoints spell out."""
    return found == expected or (prod(found) == prod(expected) and tuple(n for n in found if n != 1) == expected)


def _pieces(tensor: TensorInfo, words: Sequence[str], model: Geometry) -> list[Piece]:
    n_rows = n_rows_of(tensor)
    runs: Runs = [(0, n_rows)]
    if "by_group" in words and (model.grouped or not model.multi_query):
        runs = _by_group(model)
    elif "by_head" in words or ("by_head_unless_shared" in words and not model.multi_query):
        runs = _by_head(model)
    elif "transposed" in words and len(tensor.shape) == 3:
        runs = [(matrix * tensor.shape[1], tensor.shape[1]) for matrix in range(tensor.shape[0])]
    elif "tiled" in words:
        runs = _tiled(model, n_rows)
    elif "tiled_tail" in words:
        before = n_rows - model.linear_values
        runs = [(0, before), *((before + first, n) for first, n in _tiled(model, model.linear_values))]
    return [Piece(tensor=tensor, first_row=first, n_rows=n) for first, n in runs]


def n_rows_of(tensor: TensorInfo) -> int:
    """Rows of a matrix or of a stack of matrices; elements of a vector."""
    return prod(tensor.shape[:-1]) if len(tensor.shape) > 1 else prod(tensor.shape)


def _by_head(model: Geometry) -> Runs:
    """Runs of rows (first, count) that take [q, k, v] of each head apart."""
    d = model.head_dim
    return [((3 * head + part) * d, d) for part in range(3) for head in range(model.n_heads)]


def _tiled(model: Geometry, length: int) -> Runs:
    """Runs that take the first value head of every key head, then the second of every key head, and so on."""
    n_keys, d = model.linear_key_heads, length // model.linear_value_heads
    readers = model.linear_value_heads // n_keys
    return [((key * readers + reader) * d, d) for reader in range(readers) for key in range(n_keys)]


def _by_group(model: Geometry) -> Runs:
    """Runs that take [q of the group's heads, k, v] of each group apart."""
    d, readers = model.head_dim, model.n_heads // model.n_kv_heads
    groups = [group * (readers + 2) * d for group in range(model.n_kv_heads)]
    queries = [(start, readers * d) for start in groups]
    keys = [(start + readers * d, d) for start in groups]
    return [*queries, *keys, *((start + d, d) for start, _ in keys)]


def shapes(checkpoint: Checkpoint) -> list[tuple[str, Shape]]:
    """(name, shape) of every tensor that the file has, in no particular order, from config.json alone."""
    row, model = find(checkpoint), geometry(checkpoint)
    found: dict[str, Shape] = {}
    for _, rule, layer in _by_layer(row.tensors, model.n_layers):
        if _applies(rule, model, layer):
            lengths = sizes(model, layer)
            shape = tuple(lengths[word] for word in rule.shape.split())
            found |= dict.fromkeys(rule.gguf.replace("{l}", str(layer)).split(), shape)
    return list(found.items())
