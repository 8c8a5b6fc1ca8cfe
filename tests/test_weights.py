"""Weights read block by block are the numbers that other libraries read from the same bytes."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from edgequant import Error
from edgequant.convert import weights
from edgequant.convert.safetensors_header import TensorInfo, read_header

DTYPES: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def stored(tmp_path: Path, values: Any) -> TensorInfo:
    others = {"a": np.arange(3, dtype=np.int8), "c": np.array([True]), "d": np.arange(5, dtype=np.uint32)}
    save_file({**others, "b": values}, tmp_path / "x.safetensors")
    return next(t for t in read_header(tmp_path / "x.safetensors") if t.name == "b")


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_pattern(dtype: str) -> None:
    patterns = np.arange(2**16, dtype="<u2")
    expected = patterns.view(DTYPES[dtype]).astype(np.float32)
    np.testing.assert_array_equal(weights.to_float32(patterns.tobytes(), dtype), expected)  # equal_nan


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (33, 3), (7,), (2, 3, 4)])
def test_read_gives_the_values_in_their_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(DTYPES[dtype])
    for n_bytes in (1, 4 * shape[-1] * 2, weights.BLOCK_BYTES):
        monkeypatch.setattr(weights, "BLOCK_BYTES", n_bytes)
        read = weights.read(stored(tmp_path, values))
        assert read.dtype == np.float32 and read.shape == shape
        np.testing.assert_array_equal(read, values.astype(np.float32))


@pytest.mark.parametrize(
    ("n_rows", "rows_that_fit", "multiple_of", "expected"),
    [
        (10, 4, 1, [4, 4, 2]),
        (10, 4, 3, [3, 3, 3, 1]),
        (12, 5, 4, [4, 4, 4]),
        (12, 1, 4, [4, 4, 4]),
        (3, 100, 2, [3]),
        (7, 0, 1, [1] * 7),
    ],
)
def test_blocks_keep_heads_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_rows: int,
    rows_that_fit: int,
    multiple_of: int,
    expected: list[int],
) -> None:
    values = np.arange(n_rows * 5, dtype=np.float32).reshape(n_rows, 5)
    monkeypatch.setattr(weights, "BLOCK_BYTES", rows_that_fit * 5 * 4)
    blocks = list(weights.row_blocks(stored(tmp_path, values), multiple_of=multiple_of))
    assert [len(block) for block in blocks] == expected
    np.testing.assert_array_equal(np.concatenate(blocks), values)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(
    ("shape", "first", "n_rows"), [((5, 7), 0, 5), ((5, 7), 2, 2), ((9,), 3, 4), ((2, 3, 4), 1, 4)]
)
def test_a_run_of_rows(tmp_path: Path, dtype: str, shape: tuple[int, ...], first: int, n_rows: int) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(DTYPES[dtype])
    expected = values.reshape(-1, shape[-1] if len(shape) > 1 else 1)[first : first + n_rows]
    tensor = stored(tmp_path, values)
    np.testing.assert_array_equal(weights.read_rows(tensor, first, n_rows), expected.astype(np.float32))
    rows = weights.stored_rows(tensor, first, n_rows)
    as_stored = rows.view(DTYPES["BF16"]) if dtype == "BF16" else rows
    assert rows.itemsize == (2 if dtype in ("F16", "BF16") else 4)
    np.testing.assert_array_equal(as_stored.astype(np.float32), expected.astype(np.float32))


def test_a_vector_is_one_row(tmp_path: Path) -> None:
    blocks = list(weights.row_blocks(stored(tmp_path, np.arange(9, dtype=np.float32))))
    assert [block.shape for block in blocks] == [(1, 9)]


def test_types_that_hold_no_weights_are_refused() -> None:
    for dtype in ("F8_E4M3", "I8", "U8", "BOOL"):
        with pytest.raises(Error, match=dtype) as caught:
            weights.to_float32(bytes(8), dtype)
        assert "float32" in caught.value.hint


def test_a_file_that_shrank_since_it_was_opened(tmp_path: Path) -> None:
    tensor = stored(tmp_path, np.ones((4, 4), dtype=np.float32))
    tensor.file.write_bytes(tensor.file.read_bytes()[: tensor.offset + 20])
    with pytest.raises(Error, match="ends inside the tensor b"):
        weights.read(tensor)
