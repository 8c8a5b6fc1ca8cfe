"""Rescaling channels of a decoder without changing what it computes.

Wherever a tensor's output channel feeds nothing but one input channel of other tensors, the first may be divided and
the second multiplied by the same factor. With random factors that takes weights off a quantisation grid; with factors
from activations it is smoothing (SmoothQuant, arXiv 2211.10438, equation 3, folded into what stands before).

All of it is exact but for float32's rounding:

- a norm's output feeds q, k and v, or gate and up: its weight is divided (Gemma's, which counts as 1 + weight, becomes
  (1 + weight) / factor - 1). OLMo 2 has no norm before them, so these two sites are missing there;
- down's input is act(gate) * up: linear in up's rows and their bias, whatever the activation is;
- o's input is an average of v's rows over the tokens, so that v's rows and bias are divided. Norms and positions of q
  and k have no part in it; the query heads of a group read the same v and share its factors.

Phi 3 keeps q, k and v in one tensor, and gate and up in another: v and up are the last rows of theirs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from .architectures.geometry import Geometry, geometry
from .architectures.row import Architecture
from .architectures.table import ARCHITECTURES
from .checkpoint import Checkpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: model_type -> transformers' class, for decoders whose norms multiply and whose MLP is down(act(gate) * up)
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForConditionalGeneration",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "granite": "GraniteForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
}
SUPPORTED = tuple(_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One place to rescale: rows of `producers` are divided, columns of `consumers` multiplied, by one factor each.

    `n_channels` factors; each head of `head_dim` channels is read by `n_readers` heads of the consumer (grouped-query
    attention), which tie their factors. The producers' rows before `first_row` are others' and stay; producers that
    are `plus_one` count as 1 + what is stored.
    """

    name: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    n_channels: int
    head_dim: int = 1
    n_readers: int = 1
    first_row: int = 0
    plus_one: bool = False


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Tensor name -> what its rows (for a vector: its elements) or its columns are multiplied by.

    Tensors in `plus_one` are multiplied as 1 + what is stored.
    """

    rows: Mapping[str, "Floats"]
    columns: Mapping[str, "Floats"]
    plus_one: frozenset[str] = frozenset()


def sites(config: Mapping[str, Any]) -> tuple[Site, ...]:
    """The sites of every layer, four at most; `Error` for an architecture where they are not known to hold.

    Tensors have the names that the table of architectures has for them (see `name_in_table`).
    """
    row = _row(config)
    model = _geometry(config)
    return tuple(site for layer in range(model.n_layers) for site in _layer_sites(row, model, layer))


def name_in_table(name: str, config: Mapping[str, Any]) -> str:
    """A tensor's name without the prefix that a checkpoint with more parts than the text model puts before it."""
    prefixes = _row(config).prefixes
    found = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    return prefixes.get(found, "") + name.removeprefix(found)


def _row(config: Mapping[str, Any]) -> Architecture:
    model_type = config.get("model_type")
    if model_type not in _CLASSES:
        raise Error(f"rescaling is not known for {model_type!r}", hint=f"known: {', '.join(SUPPORTED)}")
    return ARCHITECTURES[_CLASSES[str(model_type)]]


def _geometry(config: Mapping[str, Any]) -> Geometry:
    """The sizes, of a configuration that lies in no folder."""
    architecture = _CLASSES[config["model_type"]]
    return geometry(
        Checkpoint(
            source=architecture,
            name="",
            revision="",
            path=Path(),
            architecture=architecture,
            config=config,
            tensors={},
            dtype="",
        )
    )


class _Layer:
    """One layer's tensors by the names that llama.cpp has for them."""

    def __init__(self, row: Architecture, layer: int) -> None:
        prefix = "blk.{l}."
        found = {rule.gguf.removeprefix(prefix): name for name, rule in row.tensors.items() if prefix in rule.gguf}
        self._names = {theirs: name.replace("{l}", str(layer)) for theirs, name in found.items()}
        self._ops = {rule.gguf.removeprefix(prefix): rule.op for rule in row.tensors.values()}

    def __contains__(self, part: str) -> bool:
        return f"{part}.weight" in self._names

    def weights(self, *parts: str) -> tuple[str, ...]:
        """The checkpoint's names of those that are there."""
        return tuple(self._names[f"{part}.weight"] for part in parts if part in self)

    def with_bias(self, part: str) -> tuple[str, ...]:
        """A weight and the bias that it may have."""
        return tuple(name.removesuffix("weight") + word for name in self.weights(part) for word in ("weight", "bias"))

    def adds_one(self, part: str) -> bool:
        """Whether a norm counts as 1 + weight."""
        return "plus_one" in self._ops[f"{part}.weight"]


def _layer_sites(row: Architecture, model: Geometry, layer: int) -> Iterator[Site]:
    part, where = _Layer(row, layer), f"model.layers.{layer}."
    readers = {"attn_norm": ("attn_q", "attn_k", "attn_v", "attn_qkv"), "ffn_norm": ("ffn_gate", "ffn_up")}
    for norm, consumers in readers.items():
        if norm in part:
            yield Site(
                name=where + {"attn_norm": "attention_input", "ffn_norm": "mlp_input"}[norm],
                producers=part.weights(norm),
                consumers=part.weights(*consumers),
                n_channels=model.hidden,
                plus_one=part.adds_one(norm),
            )
    yield Site(
        name=f"{where}mlp_output",
        producers=part.with_bias("ffn_up"),
        consumers=part.weights("ffn_down"),
        n_channels=model.intermediate,
        first_row=0 if "ffn_gate" in part else model.intermediate,
    )
    yield Site(
        name=f"{where}attention_output",
        producers=part.with_bias("attn_v" if "attn_v" in part else "attn_qkv"),
        consumers=part.weights("attn_output"),
        n_channels=model.n_kv_heads * model.head_dim,
        head_dim=model.head_dim,
        n_readers=model.n_heads // model.n_kv_heads,
        first_row=0 if "attn_v" in part else (model.n_heads + model.n_kv_heads) * model.head_dim,
    )


def fold(site_factors: Iterable[tuple[Site, "Floats"]]) -> Factors:
    """Turn factors [n_channels] per site into factors per tensor; a site that is left out stays as it is."""
    import numpy as np

    rows: dict[str, Floats] = {}
    columns: dict[str, Floats] = {}
    plus_one: set[str] = set()
    for site, factors in site_factors:
        if factors.shape != (site.n_channels,):
            raise ValueError(f"{site.name} takes {site.n_channels} factors, not {factors.shape}")
        others = np.ones(site.first_row, dtype=np.float32)
        rows.update(dict.fromkeys(site.producers, np.concatenate([others, np.reciprocal(factors)])))
        columns.update(dict.fromkeys(site.consumers, _for_readers(site, factors)))
        plus_one.update(site.producers if site.plus_one else ())
    return Factors(rows=rows, columns=columns, plus_one=frozenset(plus_one))


def _for_readers(site: Site, factors: "Floats") -> "Floats":
    import numpy as np

    return np.repeat(factors.reshape(-1, site.head_dim), site.n_readers, axis=0).ravel()


def random_factors(config: Mapping[str, Any], *, seed: int, strength: float = 0.25) -> Factors:
    """Factors exp(U(-strength, strength)) for every channel of every site, the same for the same seed."""
    import numpy as np

    generator = np.random.default_rng(seed)

    def draw(site: Site) -> "Floats":
        return np.exp(generator.uniform(-strength, strength, site.n_channels)).astype(np.float32)

    return fold((site, draw(site)) for site in sites(config))


def apply(name: str, tensor: "Floats", factors: Factors, *, first_row: int = 0) -> "Floats":
    """The tensor [rows, columns] or vector [rows] after rescaling; a block of rows says where it starts."""
    rows, columns = factors.rows.get(name), factors.columns.get(name)
    if rows is not None:
        block = rows[first_row : first_row + len(tensor)]
        tensor = _multiplied(tensor, block.reshape(-1, *(1,) * (tensor.ndim - 1)), plus_one=name in factors.plus_one)
    return tensor if columns is None else tensor * columns


def _multiplied(tensor: "Floats", by: "Floats", *, plus_one: bool) -> "Floats":
    return (1 + tensor) * by - 1 if plus_one else tensor * by


def rescale(
    tensors: Iterable[tuple[str, "Floats"]], config: Mapping[str, Any], *, seed: int, strength: float = 0.25
) -> Iterator[tuple[str, "Floats"]]:
    """Yield every tensor after a random rescale that leaves the function unchanged (but for float32 rounding)."""
    factors = random_factors(config, seed=seed, strength=strength)
    for name, tensor in tensors:
        yield name, apply(name_in_table(name, config), tensor, factors)
