"""Rotary position embeddings whose frequencies are scaled, as llama.cpp's files say it."""

from collections.abc import Mapping
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from ... import Error
from .geometry import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

FACTORS = "rope_freqs.weight"


def metadata(model: Geometry) -> dict[str, Any]:
    """Keys after `rope.scaling.` and their values."""
    scaling = model.rope_scaling
    kind = scaling["rope_type"]
    if kind == "linear":
        return {"type": "linear", "factor": constant(scaling, "factor")}
    if kind == "yarn":
        return _yarn(scaling, model)
    if kind == "longrope":
        return {
            "type": "longrope",
            "original_context_length": int(constant(scaling, "original_max_position_embeddings")),
            "attn_factor": _longrope_attention(scaling, model),
        }
    return {}  # llama3 and proportional travel as a tensor of factors


def _yarn(scaling: Mapping[str, Any], model: Geometry) -> dict[str, Any]:
    """llama.cpp multiplies by 1 + 0.1 ln(factor), transformers' own default, before `attn_factor`.

    Source: arXiv 2309.00071, and src/llama-context.cpp of llama.cpp.
    """
    factor = constant(scaling, "factor")
    original = scaling.get("original_max_position_embeddings") or model.trained_context
    said = {"type": "yarn", "factor": factor, "original_context_length": int(original)}
    if scaling.get("attention_factor") is not None:
        usual = 1 + 0.1 * log(factor) if factor > 1 else 1.0
        said["attn_factor"] = constant(scaling, "attention_factor") / usual
    return said


def _longrope_attention(scaling: Mapping[str, Any], model: Geometry) -> float:
    """Source: arXiv 2402.13753, as transformers' modeling_rope_utils computes it for Phi-3."""
    if scaling.get("attention_factor") is not None:
        return constant(scaling, "attention_factor")
    original = constant(scaling, "original_max_position_embeddings")
    factor = model.trained_context / original
    return sqrt(1 + log(factor) / log(original)) if factor > 1 else 1.0


def tensors(model: Geometry) -> dict[str, "Floats"]:
    """Tensors that hold divisors of the rotary frequencies, each [rotary_dim / 2]."""
    import numpy as np

    kind = model.rope_scaling["rope_type"]
    if kind == "llama3":
        return {FACTORS: llama3_factors(model.rope_scaling, head_dim=model.head_dim, theta=model.rope_theta)}
    if kind == "proportional":
        return {FACTORS: _proportional(model)}
    if kind == "longrope":
        found = {}
        for which in ("long", "short"):
            values = model.rope_scaling.get(f"{which}_factor")
            if not isinstance(values, list) or len(values) != model.rotary_dim // 2:
                raise Error(f"config.json: rope scaling 'longrope' needs {model.rotary_dim // 2} {which}_factor")
            found[f"rope_factors_{which}.weight"] = np.asarray(values, dtype=np.float32)
        return found
    return {}


def _proportional(model: Geometry) -> "Floats":
    """Divisors [head_dim / 2] that leave the slower pairs of a head as they are: 1e30 is as good as no rotation.

    Source: transformers 5, modeling_rope_utils, and conversion/gemma.py of llama.cpp.
    """
    import numpy as np

    turned = int(model.rotary_factor * model.head_dim // 2)
    return np.where(np.arange(model.head_dim // 2) < turned, 1.0, 1e30).astype(np.float32)


def llama3_factors(scaling: Mapping[str, Any], *, head_dim: int, theta: float) -> "Floats":
    """Divisors of the rotary frequencies [head_dim / 2] for Llama 3.1's scaling.

    Source: Llama 3.1's reference code, as transformers' modeling_rope_utils describes it: long wavelengths are
    divided by `factor`, short ones kept, those between interpolated.
    """
    import numpy as np

    factor, original = constant(scaling, "factor"), constant(scaling, "original_max_position_embeddings")
    low, high = constant(scaling, "low_freq_factor"), constant(scaling, "high_freq_factor")
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    turns = original / (2 * np.pi * theta**exponents)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - kept) / factor + kept)).astype(np.float32)


def constant(scaling: Mapping[str, Any], key: str) -> float:
    """A number of the scaling; `Error` where it has none."""
    try:
        return float(scaling[key])
    except (KeyError, TypeError, ValueError):
        raise Error(f"config.json: rope scaling {scaling['rope_type']!r} has no number {key}") from None
