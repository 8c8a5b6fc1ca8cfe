"""Values as the bytes of F32, F16 or BF16, from the type that a checkpoint stores them in, without detours.

Arrays are float32, float16, or uint16 for the bits of bfloat16, which numpy does not know.
"""

from typing import TYPE_CHECKING, Any

from .. import Error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.uint16]
    Floats = NDArray[np.float32]


class BeyondRange(Error):
    """Values that a float type cannot hold."""


_LARGEST = {"F32": 3.4028234663852886e38, "F16": 65504.0, "BF16": 3.3895313892515355e38}
_MAGNITUDE, _SIGN = 0x7FFF, 0x8000  # of bfloat16's bits
_BF16_INFINITE = 0x7F80
_BF16_65280 = 0x477F  # the largest bfloat16 that float16 can hold
_BF16_F16_NORMAL = 0x3880  # 2**-14: below it float16 has fewer digits and has to round
_BIAS = (127 - 15) << 7  # between the exponents of bfloat16 and float16, in bfloat16's bits


def encode(values: "NDArray[Any]", dtype: str, *, name: str, allow_nan: bool = False) -> "NDArray[Any]":
    """The values as "F32", "F16" or "BF16": an array whose bytes are to be written, little-endian, contiguous.

    `Error` for values that the type cannot hold, and for such as are no finite numbers unless they are allowed; it
    names the tensor.
    """
    import numpy as np

    if values.dtype == np.uint16:
        return _from_bfloat16(np.ascontiguousarray(values, dtype="<u2"), dtype, name, allow_nan)
    _check(values, dtype, name, allow_nan)
    if dtype == "BF16":
        return _rounded(values.astype(np.float32, copy=False), has_nan=allow_nan)
    return np.ascontiguousarray(values, dtype="<f4" if dtype == "F32" else "<f2")


def widen(bits: "Bits") -> "Floats":
    """Bfloat16's bits, the upper half of a float32, as float32."""
    import numpy as np

    return (bits.astype(np.uint32) << 16).view(np.float32)


def _from_bfloat16(bits: "Bits", dtype: str, name: str, allow_nan: bool) -> "NDArray[Any]":
    largest = int((bits & _MAGNITUDE).max(initial=0))
    if largest > _BF16_65280 and (dtype == "F16" or largest >= _BF16_INFINITE):
        wide = widen(bits)
        _check(wide, dtype, name, allow_nan)
        return bits if dtype == "BF16" else wide.astype("<f2" if dtype == "F16" else "<f4")
    if dtype == "F32":
        return widen(bits)
    return _half(bits) if dtype == "F16" else bits


def _half(bits: "Bits") -> "Bits":
    """Float16's bits of bfloat16's, exact from 2**-14 up; five times as quick as by way of float32."""
    import numpy as np

    magnitude: Bits = bits & np.uint16(_MAGNITUDE)
    half: Bits = (magnitude - np.uint16(_BIAS)) << np.uint16(3)  # wraps round below, where the next lines put it right
    half |= bits & np.uint16(_SIGN)
    small = np.flatnonzero(magnitude < _BF16_F16_NORMAL)
    if small.size:
        half.reshape(-1)[small] = widen(bits.reshape(-1)[small]).astype(np.float16).view(np.uint16)
    return half


def _check(values: "NDArray[Any]", dtype: str, name: str, allow_nan: bool) -> None:
    """Two passes without a copy where all is well: NaN makes a maximum NaN, infinity makes it infinite."""
    import numpy as np

    with np.errstate(invalid="ignore"):  # a signalling NaN
        largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
        if largest <= _LARGEST[dtype]:
            return
        finite = values[np.isfinite(values)]
    if finite.size < values.size and not allow_nan:
        raise Error(
            f"the tensor {name} holds values that are no finite numbers",
            hint="such a model answers nothing of use: download the checkpoint again, or pass --allow-nan",
        )
    if finite.size and float(np.abs(finite).max()) > _LARGEST[dtype]:
        raise BeyondRange(
            f"the tensor {name} holds values beyond the range of {dtype}: it reaches {np.abs(finite).max():.4g}",
            hint="convert to another float type",
        )


def _rounded(values: "Floats", *, has_nan: bool) -> "Bits":
    """To nearest, ties to even; a NaN that rounding would turn into infinity stays one."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded: Bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    if has_nan:
        rounded[np.isnan(values)] = 0x7FC0
    return rounded
