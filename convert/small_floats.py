"""What the codes of floating-point types with 8 bits and fewer stand for.

Source: OCP 8-bit Floating Point Specification (OFP8) and OCP Microscaling Formats (MX) Specification 1.0, both from
opencompute.org: E4M3 has no infinity and one NaN, E5M2 is as IEEE 754 has it, E8M0 is a power of two, E2M1 has neither.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # then the same with a minus
_E8M0_NAN = 255


def decode(codes: "Bytes", dtype: str) -> "Floats":
    """Bytes of "F8_E4M3", "F8_E5M2", "F8_E8M0" or "F4_E2M1" as a flat float32 array.

    A byte of F4_E2M1 holds two values, the first in its lower half.
    """
    return _table(dtype)[codes.reshape(-1)].reshape(-1)


@cache
def _table(dtype: str) -> "Floats":
    """The value of each byte [256], or the two values [256, 2]."""
    import numpy as np

    codes = np.arange(256)
    if dtype == "F4_E2M1":
        values = np.array([*_E2M1, *(-value for value in _E2M1)], dtype=np.float32)
        return np.stack([values[codes & 15], values[codes >> 4]], axis=1)
    if dtype == "F8_E8M0":
        return np.where(codes == _E8M0_NAN, np.nan, np.ldexp(1.0, codes - 127)).astype(np.float32)
    return _eight_bits(codes, n_exponent_bits=4) if dtype == "F8_E4M3" else _eight_bits(codes, n_exponent_bits=5)


def _eight_bits(codes: "NDArray[np.int_]", *, n_exponent_bits: int) -> "Floats":
    import numpy as np

    n_digits = 7 - n_exponent_bits
    bias = 2 ** (n_exponent_bits - 1) - 1
    exponent, digits = (codes & 0x7F) >> n_digits, codes & (2**n_digits - 1)
    whole = np.where(exponent > 0, 2**n_digits + digits, digits)
    magnitude = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - bias - n_digits)
    if n_exponent_bits == 5:
        magnitude[exponent == 31] = np.where(digits[exponent == 31] == 0, np.inf, np.nan)
    else:
        magnitude[codes & 0x7F == 0x7F] = np.nan
    values: Floats = np.where(codes < 128, magnitude, -magnitude).astype(np.float32)
    return values
