"""Floats of one type as bytes of another: as numpy and ml_dtypes convert them, for every value of 16 bits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from edgequant import Error
from edgequant.convert import floats

NUMPY: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
LARGEST = {"F32": 3.4028234663852886e38, "F16": 65504.0, "BF16": 3.3895313892515355e38}
EVERY = np.arange(2**16, dtype=np.uint16)


def stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """As a checkpoint's rows come: bfloat16 as its bits."""
    array = values.astype(NUMPY[dtype])
    return array.view(np.uint16) if dtype == "BF16" else array


def encoded(values: NDArray[Any], dtype: str, **options: Any) -> NDArray[Any]:
    data = floats.encode(values, dtype, name="t", **options)
    assert data.flags.c_contiguous and data.shape == values.shape
    return np.frombuffer(data.tobytes(), dtype=NUMPY[dtype]).reshape(values.shape)


@pytest.mark.parametrize("source", ["F16", "BF16"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_every_value_of_16_bits(source: str, dtype: str) -> None:
    values = EVERY.view(NUMPY[source])
    with np.errstate(invalid="ignore"):
        kept = EVERY[np.abs(values.astype(np.float64)) <= LARGEST[dtype]]
    with np.errstate(under="ignore"):
        expected = kept.view(NUMPY[source]).astype(np.float32).astype(NUMPY[dtype])
    found = encoded(kept if source == "BF16" else kept.view(np.float16), dtype)
    np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))  # signs of zeros too


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_float32_is_rounded_to_nearest(dtype: str) -> None:
    draw = np.random.default_rng(0)
    for values in (
        draw.standard_normal((100, 64)),
        draw.standard_normal(5000) * 1e-6,
        draw.standard_normal(1000) * 1e4,
    ):
        given = values.astype(np.float32)
        np.testing.assert_array_equal(encoded(given, dtype), given.astype(NUMPY[dtype]))


@pytest.mark.parametrize("source", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(source: str, dtype: str, value: float) -> None:
    given = stored(np.array([[1.0, value], [-2.0, 0.5]]), source)
    with pytest.raises(Error, match="the tensor t holds values that are no finite numbers") as caught:
        floats.encode(given, dtype, name="t")
    assert caught.value.hint
    kept = encoded(given, dtype, allow_nan=True).astype(np.float32)
    np.testing.assert_array_equal(kept, [[1.0, value], [-2.0, 0.5]])


def test_a_nan_of_any_bits_stays_one() -> None:
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], dtype=np.uint32)
    assert np.isnan(encoded(bits.view(np.float32), "BF16", allow_nan=True).astype(np.float32)).all()


@pytest.mark.parametrize("source", ["F32", "BF16"])
@pytest.mark.parametrize("value", [65536.0, -65536.0, 1e38])
def test_values_beyond_float16(source: str, value: float) -> None:
    given = stored(np.array([1.0, value]), source)
    for allow_nan in (False, True):
        with pytest.raises(Error, match="beyond the range of F16") as caught:
            floats.encode(given, "F16", name="t", allow_nan=allow_nan)
        assert caught.value.hint
    assert encoded(given, "BF16").astype(np.float32)[1] == pytest.approx(value, rel=0.01)


def test_float32_beyond_bfloat16() -> None:
    with pytest.raises(Error, match="beyond the range of BF16"):
        floats.encode(np.array([3.4e38], dtype=np.float32), "BF16", name="t")


@pytest.mark.parametrize("source", ["F32", "F16", "BF16"])
def test_rows_in_another_order_and_no_rows(source: str) -> None:
    values = np.ldexp(np.arange(12.0).reshape(3, 4), -16)  # some of them below float16's normal numbers
    given = stored(values, source)
    for dtype in NUMPY:
        np.testing.assert_array_equal(encoded(given.T, dtype).astype(np.float32), values.T)
        assert encoded(given[:0], dtype).size == 0
