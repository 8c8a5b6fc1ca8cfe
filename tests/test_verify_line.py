"""Whether a divergence is in line with its bits: recorded runs are, a broken format is not."""

from __future__ import annotations

import math

import pytest

from edgequant.verify.line import is_in_line
from edgequant.verify.weights import allowed

#: (true bits a weight, mean KL divergence in nats over 256 tokens), recorded with llama.cpp of llama-cpp-python 0.3.36
POCKET = {
    "Q8_0": (8.52, 0.00123), "Q6_K": (6.58, 0.00643), "Q5_K_M": (5.76, 0.01349), "Q5_0": (5.63, 0.02083),
    "Q4_1": (5.18, 0.05862), "Q4_K_M": (4.99, 0.04967), "Q4_0": (4.73, 0.08057), "Q3_K_M": (4.17, 0.10974),
    "Q2_K": (3.33, 0.47111),
}  # fmt: skip
SMOLLM2 = {
    "Q8_0": (8.51, 0.00432), "Q6_K": (8.12, 0.01016), "Q5_K_M": (6.56, 0.03772), "Q4_K_M": (6.17, 0.05513),
    "Q4_0": (5.35, 0.31445), "Q3_K_M": (5.46, 0.20919), "Q2_K": (5.14, 0.46187),
}  # fmt: skip


@pytest.mark.parametrize("run", [POCKET, SMOLLM2], ids=["pocket", "SmolLM2"])
def test_recorded_runs_are_in_line(run: dict[str, tuple[float, float]]) -> None:
    for name, (bits, nats) in run.items():
        others = [row for other, row in run.items() if other != name]
        assert is_in_line(bits, nats, others), name
        assert is_in_line(bits, nats, []), name


@pytest.mark.parametrize("run", [POCKET, SMOLLM2], ids=["pocket", "SmolLM2"])
@pytest.mark.parametrize("nats", [1.0, 3.0, 11.0, math.nan, math.inf])
def test_a_broken_format_is_not(run: dict[str, tuple[float, float]], nats: float) -> None:
    """A Q4_K_M that diverges as one of two bits fewer does."""
    others = [row for other, row in run.items() if other != "Q4_K_M"]
    assert not is_in_line(run["Q4_K_M"][0], nats if nats != 1.0 else run["Q4_K_M"][1] * 16, others)


def test_dynamic_int8_is_out_of_line_on_smollm2() -> None:
    assert not is_in_line(8.4, 0.61, list(SMOLLM2.values()))


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("Q8_0", 0.0067), ("Q6_K", 0.0193), ("Q5_K", 0.038), ("Q5_0", 0.0529), ("Q4_K", 0.0759), ("Q4_0", 0.108),
     ("Q4_1", 0.0827), ("Q3_K", 0.1613), ("Q2_K", 0.2986), ("F16", 0.0)],
)  # fmt: skip
def test_errors_that_were_seen_are_allowed_with_room(kind: str, seen: float) -> None:
    assert 1.4 * seen < allowed(kind) < 1.0
