"""Is a quantised artifact's divergence in line with its bits?

Rounding to b bits makes an error of variance 4^-b, and the divergence grows with the square of the error in the
logits: KL = c x 4^-b + a, where c belongs to the model, and a is what rounding activations to 8 bits costs. With b
the true bits a weight, c was 36 to 77 on the pocket model (Q6_K to Q2_K) and 284 to 791 on SmolLM2-135M (Q8_0 to
Q2_K): within a run, formats lie within a factor of 2.8 of each other while KL itself spans a factor of 400. So the
other formats of the run say what is to be expected; without two of them, a bound that both models keep by far does.
`a` was 0.001 and 0.004.

Out of line is no verdict yet: ONNX's dynamic int8 rounds activations with one scale a tensor and lies a factor of 100
above the line (0.6 nats on SmolLM2-135M), with nothing broken. A broken kernel or damaged weights show in `kernels` and
`weights`, which look for them alone. Where both are right, a format that says that it rounds activations is what it
claims to be, and passes: what that costs is the report's to say. Any other is coarse for this model, and said so.
"""

from collections.abc import Sequence
from statistics import median

FACTOR = 8.0  # 1.5 bits: what separates neighbouring formats
ACTIVATIONS_NATS = 0.005  # `a`, as large as was seen
WITHOUT_OTHERS = 4000.0  # c where the run has fewer than two other quantised formats
LARGEST_NATS = 2.0  # a model that is guessing among its whole vocabulary is off by more


def expected_nats(bits: float, others: Sequence[tuple[float, float]]) -> float:
    """The divergence to be expected at these true bits a weight; `others`: (bits, divergence) of the run's others."""
    known = [nats * 4.0**other for other, nats in others if nats > ACTIVATIONS_NATS]
    c = median(known) if len(known) > 1 else WITHOUT_OTHERS / FACTOR
    return float(c * 4.0**-bits + ACTIVATIONS_NATS)


def is_in_line(bits: float, nats: float, others: Sequence[tuple[float, float]]) -> bool:
    """Whether a divergence is what the bits explain; a NaN is not."""
    return nats <= FACTOR * expected_nats(bits, others)
