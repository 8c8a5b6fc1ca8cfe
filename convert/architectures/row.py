"""What one row of the table of architectures says: which configuration it reads, and where each tensor goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]


def words(text: str) -> frozenset[str]:
    """The words of a text, for sets of keys."""
    return frozenset(text.split())


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Where one tensor of the checkpoint goes in a GGUF file.

    `gguf` may be several names: rows go to them in turn. `shape` names sizes of `layout.sizes`, rows first, as the file
    has them. `op` is what is done on the way: "rotary" orders each head's rows as neighbours (llama.cpp rotates pairs,
    transformers halves), "plus_one" adds one (Gemma's norms multiply by 1 + weight), "transposed" swaps rows and
    columns (GPT-2's Conv1D), "by_head" takes [q, k, v] of each head apart, "by_group" [q ..., k, v] of each group of
    heads, so that all q come first; "tiled" takes linear attention's value heads from the order of their key heads to
    every key head's first, second, ... in turn, "tiled_tail" does so behind its q and k, "tiled_columns" along the
    rows; "minus_exp" is -exp(x). Two words may stand together, one for the rows and one for the values.
    `when` is the flag of `Geometry` without which the tensor is not there, one for all layers or one a layer; "!"
    before it turns that round, "?" behind it says that the tensor may be there all the same, unused.
    """

    gguf: str
    shape: str
    op: str = ""
    when: str = ""


Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row: `gguf` is llama.cpp's name of the architecture.

    Names of the checkpoint's tensors may hold {l} (layer), {e} (expert), {h} (head) and {k} (key-value head); what
    varies in the last three is stacked.
    """

    gguf: str
    tensors: Tensors
    reads: Mapping[str, str]  # config.json's key -> field of Geometry
    defaults: Config  # what transformers takes where a key is left out; a key that is read and not here is required
    must_equal: Mapping[str, tuple[Any, ...]]  # values that llama.cpp's graph takes for granted
    irrelevant: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)  # an older name of a key -> the key
    derive: Callable[[dict[str, Any]], None] | None = None  # spells out keys that follow from others
    rope: tuple[str, ...] = ("default", "linear", "yarn")  # kinds of scaling; () for learnt positions
    norm: str = "rms"  # | "layer"
    writes_head: bool = False  # llama.cpp insists on output.weight even where it is the embedding
    nested: str = ""  # the part of config.json that describes the text model
    prefixes: Mapping[str, str] = field(default_factory=dict)  # of tensor names, to what they are called here
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # a name that may stand for those of `tensors`
    ignored: tuple[str, ...] = ()  # parts of the names of tensors that the text model does not need
    checks: tuple[Callable[[Config], str], ...] = ()  # what else llama.cpp cannot express: "" or what is wrong
    window_limits_context: bool = False  # llama.cpp's graph does not slide: only so many tokens are computed right
