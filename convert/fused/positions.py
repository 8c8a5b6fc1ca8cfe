"""Cosines and sines of rotary position embeddings, as transformers computes them, for GroupQueryAttention's caches."""

from dataclasses import dataclass
from math import log, pi
from typing import TYPE_CHECKING

from ..architectures import rope
from ..architectures.geometry import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_POSITIONS = 131072  # rows of a cache; a million of them would be larger than many a model
_BETA_FAST, _BETA_SLOW = 32, 1  # yarn's constants, see architectures.keys


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Frequencies [rotary_dim / 2] of one kind of layer, and what cosines and sines are multiplied by."""

    frequencies: "Floats"
    scale: float = 1.0

    def cache(self, n_positions: int) -> tuple["Floats", "Floats"]:
        """Cosines and sines, each float32 [n_positions, rotary_dim / 2]."""
        import numpy as np

        angles = np.arange(n_positions, dtype=np.float32)[:, None] * self.frequencies[None]
        scale = np.float32(self.scale)
        return np.cos(angles) * scale, np.sin(angles) * scale


def n_positions(model: Geometry) -> int:
    """Tokens that a graph of this model holds."""
    return min(model.trained_context or model.context, MOST_POSITIONS)


def rotation(model: Geometry, *, slides: bool = False) -> Rotation:
    """How the layers that slide, or those that do not, are rotated; of longrope up to the original context."""
    import numpy as np

    if slides and model.local_rope_theta:
        return Rotation(frequencies=_plain(model, model.local_rope_theta))  # Gemma 3 scales its full layers alone
    plain = _plain(model, model.rope_theta)
    scaling, kind = model.rope_scaling, model.rope_scaling["rope_type"]
    if kind == "linear":
        return Rotation(frequencies=plain / np.float32(rope.constant(scaling, "factor")))
    if kind == "llama3":
        return Rotation(frequencies=plain / rope.tensors(model)[rope.FACTORS])
    if kind == "yarn":
        return _yarn(model, plain)
    if kind == "longrope":
        return _longrope(model, plain, "short")
    return Rotation(frequencies=plain)


def long_rotation(model: Geometry) -> tuple[Rotation, int] | None:
    """Longrope's second rotation and the number of tokens beyond which it holds for all of them; else None."""
    if model.rope_scaling["rope_type"] != "longrope":
        return None
    original = int(rope.constant(model.rope_scaling, "original_max_position_embeddings"))
    return _longrope(model, _plain(model, model.rope_theta), "long"), original


def _plain(model: Geometry, theta: float) -> "Floats":
    """Frequencies [rotary_dim / 2] as they are before any scaling."""
    import numpy as np

    exponents = np.arange(0, model.rotary_dim, 2, dtype=np.float32) / np.float32(model.rotary_dim)
    plain: Floats = np.float32(1) / np.power(np.float32(theta), exponents)
    return plain


def _longrope(model: Geometry, plain: "Floats", which: str) -> Rotation:
    divisors = rope.tensors(model)[f"rope_factors_{which}.weight"]
    return Rotation(frequencies=plain / divisors, scale=float(rope.metadata(model)["attn_factor"]))


def _yarn(model: Geometry, plain: "Floats") -> Rotation:
    """Long wavelengths are divided by `factor`, short ones kept, those between interpolated (arXiv 2309.00071)."""
    import numpy as np

    scaling, dim = model.rope_scaling, model.rotary_dim
    factor = rope.constant(scaling, "factor")
    original = float(scaling.get("original_max_position_embeddings") or model.trained_context)

    def pair_of(turns: float) -> float:
        return dim * log(original / (turns * 2 * pi)) / (2 * log(model.rope_theta))

    low, high = max(np.floor(pair_of(_BETA_FAST)), 0), min(np.ceil(pair_of(_BETA_SLOW)), dim - 1)
    ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - low) / (max(high - low, 0.001)), 0, 1)
    said = scaling.get("attention_factor")
    scale = float(said) if said is not None else (0.1 * log(factor) + 1.0 if factor > 1 else 1.0)
    frequencies = plain / np.float32(factor) * ramp + plain * (1 - ramp)
    return Rotation(frequencies=frequencies.astype(np.float32), scale=scale)
