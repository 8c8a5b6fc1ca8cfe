"""A checkpoint, whole or only its headers, as the model that a plan's formulas see."""

from collections.abc import Sequence

from ... import Error
from ...convert import conversion
from ...convert.architectures.geometry import Geometry, geometry
from ...convert.architectures.keys import check_config
from ...convert.architectures.table import find
from ...convert.checkpoint import Checkpoint
from ...convert.formats import Format
from ...convert.fused.expressible import obstacle
from ...convert.fused.outline import outline
from ...convert.gguf_write import header_bytes
from ...convert.onnx_options import OnnxOptions
from ...convert.vocabulary.from_checkpoint import read_vocabulary
from .model import Model

#: bytes of a vocabulary in a GGUF for each token, where no tokenizer is at hand: tokens of byte-pair encoding with
#: their merges (36 in SmolLM2's, 39 in Qwen2's, 61 in Llama 3's, 60 in Gemma 4's), SentencePiece's with scores (23 in
#: Llama 2's)
_BYTE_PAIRS, _PIECES, _GEMMA4 = 45, 23, 60
_LARGEST_OF_PIECES = 33_000  # tokens; larger vocabularies are SentencePiece's in Gemma alone
#: the same of tokenizer.json: 43 in SmolLM2's, 57 in Llama 2's, 75 in Qwen3's, 127 in Gemma 3's
_JSON, _JSON_GEMMA = 65, 125


def describe(checkpoint: Checkpoint, formats: Sequence[Format], options: OnnxOptions) -> Model:
    """The model, with all that these formats' sizes depend on.

    Raises `Error` for a checkpoint that cannot be converted: its architecture, its tensors or, where a GGUF is among
    the formats, its tokenizer.
    """
    check_config(checkpoint)
    sizes, fused = geometry(checkpoint), not obstacle(checkpoint)
    has_tokenizer = not checkpoint.remote or _has_tokenizer(checkpoint)
    return Model(
        sizes=sizes,
        decoder=conversion.decoder(checkpoint),
        tensors=conversion.gguf_shapes(checkpoint),
        header_bytes=_header(checkpoint, sizes, has_tokenizer) if any(f.container == "gguf" for f in formats) else 0,
        companion_bytes=conversion.companion_bytes(checkpoint) + (0 if has_tokenizer else _json(checkpoint, sizes)),
        graphs={f.name: outline(checkpoint, f, options) for f in formats if fused and f.container == "onnx"},
        fused=fused,
        block_size=options.block_size,
        per_channel=options.per_channel,
        plain_head=options.plain_head,
        has_tokenizer=has_tokenizer,
    )


def _has_tokenizer(checkpoint: Checkpoint) -> bool:
    try:
        read_vocabulary(checkpoint)
    except Error:
        return False
    return True


def _header(checkpoint: Checkpoint, sizes: Geometry, has_tokenizer: bool) -> int:
    if has_tokenizer:
        return header_bytes(checkpoint, read_vocabulary(checkpoint))
    return header_bytes(checkpoint, None) + sizes.vocabulary * _bytes_a_token(checkpoint, sizes)


def _bytes_a_token(checkpoint: Checkpoint, sizes: Geometry) -> int:
    family = find(checkpoint).gguf
    if family == "gemma4":
        return _GEMMA4
    return _PIECES if family.startswith("gemma") or sizes.vocabulary <= _LARGEST_OF_PIECES else _BYTE_PAIRS


def _json(checkpoint: Checkpoint, sizes: Geometry) -> int:
    return sizes.vocabulary * (_JSON_GEMMA if find(checkpoint).gguf.startswith("gemma") else _JSON)
