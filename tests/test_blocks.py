"""Blocks of n bits: golden from ONNX Runtime's own quantisers and operators, and from the formulas of the papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgequant import Error, child
from edgequant.convert.fused import blocks
from edgequant.convert.fused.blocks import Packed, dequantised, k_quant, nearest, unpacked
from edgequant.convert.fused.feedback import Feedback, feedback, gptq

Floats = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("natives_importable")
PACKINGS = [(bits, size) for bits in (4, 8) for size in blocks.SIZES]
SIZE = 32


def draw(*shape: int, seed: int = 0) -> Floats:
    """Weights with a few large ones among them, as trained ones have."""
    return np.random.default_rng(seed).standard_t(4, shape).astype(np.float32)


def inputs(n_columns: int, n: int = 512) -> Floats:
    """Inputs of a product that depend on each other and differ in size, with a column that nothing ever enters."""
    generator = np.random.default_rng(1)
    mixed = generator.standard_normal((n, n_columns)) @ generator.standard_normal((n_columns, n_columns))
    x = mixed * np.exp(generator.standard_normal(n_columns))
    x[:, 5] = 0
    return x.astype(np.float32)


def matrices() -> dict[str, Floats]:
    """Of one width that takes all blocks and one that takes none, with rounding ties, and rows of zeros."""
    ties = np.random.default_rng(2).integers(-64, 65, (40, 256)).astype(np.float32) / 64
    whole = draw(24, 256)
    whole[3], whole[4, :128] = 0, 0
    return {"whole": whole, "ties": ties, "ragged": draw(9, 100), "shifted": np.abs(draw(24, 256)) + 3}


@pytest.fixture(scope="module")
def gram() -> Floats:
    x = inputs(256)
    return x.T @ x


@pytest.fixture(scope="module")
def by_onnxruntime(tmp_path_factory: pytest.TempPathFactory, gram: Floats) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("quantised")
    np.savez(folder / "given.npz", gram=gram, **matrices())
    job = {"arrays": str(folder / "given.npz"), "made": str(folder / "made.npz"), "packings": PACKINGS, "size": SIZE}
    child.run("native_blocks:quantised", job, deadline_seconds=60).unwrap()
    return dict(np.load(folder / "made.npz"))


@pytest.mark.parametrize(("bits", "size"), PACKINGS)
@pytest.mark.parametrize("name", matrices())
def test_nearest_is_onnxruntimes_to_the_bit(name: str, bits: int, size: int, by_onnxruntime: dict[str, Any]) -> None:
    rows = matrices()[name]
    made, expected = nearest(rows, size=size, bits=bits), by_onnxruntime[f"{name} {bits} {size} data"]
    np.testing.assert_array_equal(made.scales, by_onnxruntime[f"{name} {bits} {size} scales"])
    codes, theirs = (unpacked(each, bits).reshape(len(rows), -1) for each in (made.data, expected))
    np.testing.assert_array_equal(codes[:, : rows.shape[1]], theirs[:, : rows.shape[1]])
    assert made.data.shape == expected.shape and (codes[:, rows.shape[1] :] == 2 ** (bits - 1)).all()  # zeros


def packings(rows: Floats, size: int) -> dict[str, tuple[int, Packed]]:
    """Every method on one matrix: (bits, packed)."""
    x = inputs(rows.shape[1])
    return {
        "nearest 8": (8, nearest(rows, size=size, bits=8)),
        "nearest 4": (4, nearest(rows, size=size, bits=4)),
        "k-quant 4": (4, k_quant(rows, size=size)),
        "k-quant 8": (8, k_quant(rows, size=size, bits=8)),
        "gptq 4": (4, gptq(rows, feedback(x.T @ x), size=size)),
    }


def test_operators_compute_with_what_is_dequantised(tmp_path: Path) -> None:
    """Also where blocks are longer than rows, blocks are odd in number, and rows are zero."""
    given: dict[str, Any] = {}
    cases: dict[str, dict[str, int]] = {}
    expected: dict[str, Floats] = {}
    for name, rows in matrices().items():
        for size in (16, 32, 128):
            for method, (bits, packed) in packings(rows, size).items():
                case = f"{name} {size} {method}"
                cases[case] = {"bits": bits, "size": size, "n_columns": rows.shape[1]}
                arrays = {"data": packed.data, "scales": packed.scales, "x": inputs(rows.shape[1], 7)}
                if packed.zero_points is not None:
                    arrays["zero_points"] = packed.zero_points
                given |= {f"{case} {key}": array for key, array in arrays.items()}
                expected[case] = dequantised(packed, bits=bits, n_columns=rows.shape[1])
    np.savez(tmp_path / "given.npz", **given)
    job = {"arrays": str(tmp_path / "given.npz"), "made": str(tmp_path / "made.npz"), "folder": str(tmp_path)}
    child.run("native_blocks:computed", job | {"cases": cases}, deadline_seconds=60).unwrap()
    made = np.load(tmp_path / "made.npz")
    for case, rows in expected.items():
        product = given[f"{case} x"] @ rows.T
        assert np.abs(made[f"{case} level 1"] - product).max() < 1e-5 * np.abs(product).max(), case
        assert np.abs(made[f"{case} level 4"] - product).max() < 0.03 * np.abs(product).max(), case  # inputs in int8
        np.testing.assert_array_equal(made[f"{case} table"][:, : rows.shape[1]], rows)
        assert not made[f"{case} table"][:, rows.shape[1] :].any()  # what fills a block up is zero


def lost(rows: Floats, made: Floats, gram: Floats) -> float:
    """Squared error of the products with all inputs."""
    error = (rows - made).astype(np.float64)
    return float(np.einsum("ri,ij,rj->", error, gram.astype(np.float64), error))


def values(packed: Packed) -> Floats:
    return dequantised(packed, bits=4, n_columns=256)


@pytest.mark.parametrize("name", ["whole", "ties", "shifted"])
def test_searched_blocks_lose_less_than_others(name: str, gram: Floats, by_onnxruntime: dict[str, Any]) -> None:
    """Error of the weights: k-quant below rounding to nearest and ONNX Runtime's function of the name."""
    rows, plain = matrices()[name], np.eye(256, dtype=np.float32)
    searched = lost(rows, values(k_quant(rows, size=SIZE)), plain)
    assert searched < lost(rows, values(nearest(rows, size=SIZE, bits=4)), plain)
    assert searched < lost(rows, by_onnxruntime[f"{name} k-quant"], plain)


@pytest.mark.parametrize("name", ["whole", "ties", "shifted"])
def test_knowing_the_inputs_loses_less(name: str, gram: Floats, by_onnxruntime: dict[str, Any]) -> None:
    """Error of the products: GPTQ < k-quant by importance < k-quant; and GPTQ at most a half of ONNX Runtime's."""
    rows = matrices()[name]
    fed = lost(rows, values(gptq(rows, feedback(gram), size=SIZE)), gram)
    weighed = lost(rows, values(k_quant(rows, size=SIZE, importance=np.diagonal(gram))), gram)
    assert fed < weighed < lost(rows, values(k_quant(rows, size=SIZE)), gram)
    assert fed < lost(rows, values(nearest(rows, size=SIZE, bits=4)), gram) / 2
    assert fed < lost(rows, by_onnxruntime[f"{name} gptq"], gram) / 2


def papers_gptq(rows: Floats, gram: Floats, scales: Floats, zeros: Floats, damping: float) -> NDArray[np.float64]:
    """Algorithm 1 of arXiv:2210.17323 in float64, by the inverse, with scales that are chosen before."""
    hessian = gram.astype(np.float64) + damping * np.diagonal(gram).mean() * np.eye(len(gram))
    order = np.argsort(-np.diagonal(hessian), kind="stable")
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    left, made = rows[:, order].astype(np.float64), np.zeros(rows.shape)
    for k, column in enumerate(order):
        scale, zero = scales[:, column // SIZE], zeros[:, column // SIZE]
        code = np.clip(np.rint(left[:, k] / np.where(scale, scale, 1)) + zero, 0, 15)
        made[:, column] = (code - zero) * scale
        left[:, k:] -= np.outer((left[:, k] - made[:, column]) / upper[k, k], upper[k, k:])
    return made


def test_gptq_is_the_papers(gram: Floats) -> None:
    rows = draw(16, 256)
    packed = gptq(rows, feedback(gram, damping=0.03), size=SIZE)
    assert packed.zero_points is not None
    zeros = unpacked(packed.zero_points, 4).astype(np.float32)
    theirs = papers_gptq(rows, gram, packed.scales, zeros, 0.03)
    assert np.isclose(values(packed), theirs, atol=1e-5).mean() > 0.995  # float32 may turn a near tie


METHODS: dict[str, Callable[[Floats], Packed]] = {
    "nearest 4": lambda rows: nearest(rows, size=SIZE, bits=4),
    "nearest 8": lambda rows: nearest(rows, size=SIZE, bits=8),
    "k-quant": lambda rows: k_quant(rows, size=SIZE),
    "gptq": lambda rows: gptq(rows, known(rows.shape[1]), size=SIZE),
}


def known(n_columns: int) -> Feedback:
    x = inputs(n_columns)
    return feedback(x.T @ x)


@pytest.mark.parametrize("method", METHODS)
def test_rows_do_not_depend_on_each_other(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix may come in pieces of any length, and is worked on in smaller ones."""
    rows = draw(50, 100)
    whole = METHODS[method](rows)
    monkeypatch.setattr(blocks, "_PIECE_WEIGHTS", 700)
    pieces = [METHODS[method](rows[start : start + 20]) for start in (0, 20, 40)]
    np.testing.assert_array_equal(np.concatenate([piece.data for piece in pieces]), whole.data)
    np.testing.assert_array_equal(np.concatenate([piece.scales for piece in pieces]), whole.scales)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [2.0**-90, 2.0**100])
def test_size_of_weights_does_not_matter(method: str, factor: float) -> None:
    rows = draw(10, 100)
    plain, scaled = METHODS[method](rows), METHODS[method](rows * np.float32(factor))
    np.testing.assert_array_equal(plain.data, scaled.data)
    np.testing.assert_array_equal(plain.scales * np.float32(factor), scaled.scales)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_nothing(method: str) -> None:
    """Zeros, and weights so small that their inverse is none."""
    for rows in (np.zeros((2, 100), np.float32), np.full((2, 100), 1e-40, np.float32)):
        packed = METHODS[method](rows)
        assert not packed.scales.any()
        assert not dequantised(packed, bits=8 if method == "nearest 8" else 4, n_columns=100).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_no_number_is_refused(method: str, value: float) -> None:
    rows = draw(4, 100)
    rows[2, 70] = value
    with pytest.raises(Error, match="a weight is infinite or no number"):
        METHODS[method](rows)


def test_inputs_that_say_nothing_leave_the_search() -> None:
    rows = draw(4, 64)
    packed = gptq(rows, feedback(np.zeros((64, 64), np.float32)), size=SIZE)
    expected = k_quant(rows, size=SIZE, importance=np.ones(64, np.float32))
    np.testing.assert_array_equal(packed.data, expected.data)
    np.testing.assert_array_equal(packed.scales, expected.scales)


def test_statistics_of_no_inputs_are_refused() -> None:
    gram = np.eye(300, dtype=np.float32)
    gram[280, 290] = gram[290, 280] = 3  # no sum of squares
    with pytest.raises(Error, match="no sum of squares"):
        feedback(gram)
    gram[0, 0] = np.nan
    with pytest.raises(Error, match="no finite numbers"):
        feedback(gram)


def test_statistics_are_left_as_they_are(gram: Floats) -> None:
    before = gram.copy()
    feedback(gram)
    np.testing.assert_array_equal(gram, before)
