"""Weights on a quantisation grid are recognised, ordinary ones are not, and the table of shared grids is ggml's."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import oracles
from edgequant.convert.checkpoint import Checkpoint
from edgequant.convert.grid import _ERROR_RATIOS, _TYPES, _USUAL_ERRORS, Grid, recognise, shares_grid
from edgequant.convert.safetensors_header import read_header

Floats = NDArray[np.float32]
N_LAYERS = 3


def gaussian(seed: int, n_rows: int = 48, row_length: int = 256) -> Floats:
    return (np.random.default_rng(seed).standard_normal((n_rows, row_length)) * 0.02).astype(np.float32)


def heavy_tailed(seed: int) -> Floats:
    return (np.random.default_rng(seed).standard_t(4, (48, 256)) * 0.02).astype(np.float32)


def on_grid(type_: str, weights: Floats) -> Floats:
    kind = gguf.GGMLQuantizationType[type_]
    return gguf.dequantize(gguf.quantize(weights, kind), kind)


def to_bfloat16(weights: Floats) -> Floats:
    """The upper 16 bits, rounded half away from zero, still as float32."""
    return ((weights.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def checkpoint(folder: Path, matrices: dict[str, Floats], dtype: str = "F32") -> Checkpoint:
    """A saved checkpoint of these matrices and a few norms, stored in `dtype`."""
    file = folder / "model.safetensors"
    tensors = {**matrices, "norm.weight": np.ones(256, dtype=np.float32)}
    header: dict[str, object] = {}
    data = b""
    for name, tensor in tensors.items():
        start, data = len(data), data + encode(tensor, dtype)
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return Checkpoint(
        source="",
        name="",
        revision="",
        path=folder,
        architecture="",
        config={},
        tensors={tensor.name: tensor for tensor in read_header(file)},
        dtype=dtype,
    )


def encode(weights: Floats, dtype: str) -> bytes:
    if dtype == "BF16":
        return (to_bfloat16(weights).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return weights.astype(np.float16 if dtype == "F16" else np.float32).tobytes()


def layers(make: Callable[[int], Floats]) -> dict[str, Floats]:
    return {f"layers.{i}.{kind}.weight": make(10 * i + k) for i in range(N_LAYERS) for k, kind in enumerate("qkv")}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("draw", [gaussian, heavy_tailed])
@pytest.mark.parametrize(("type_", "levels"), [("Q4_0", 16), ("Q4_1", 16), ("Q5_0", 32), ("Q5_1", 32), ("Q8_0", 255)])
def test_dequantised_weights_are_recognised(
    tmp_path: Path, type_: str, levels: int, draw: Callable[[int], Floats], dtype: str
) -> None:
    found = recognise(checkpoint(tmp_path, layers(lambda seed: on_grid(type_, draw(seed))), dtype))
    assert found == Grid(name=type_, share=1.0, levels=levels, block=32)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("draw", [gaussian, heavy_tailed])
def test_ordinary_weights_are_not(tmp_path: Path, draw: Callable[[int], Floats], dtype: str) -> None:
    assert recognise(checkpoint(tmp_path, layers(draw), dtype)) is None


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_weights_that_were_rounded_before_are_not(tmp_path: Path, dtype: str) -> None:
    assert recognise(checkpoint(tmp_path, layers(lambda seed: to_bfloat16(gaussian(seed))), dtype)) is None


def test_pruned_weights_and_untrained_rows_are_not(tmp_path: Path) -> None:
    def sparse(seed: int) -> Floats:
        weights = gaussian(seed)
        weights[np.abs(weights) < 0.03] = 0  # about nine in ten
        weights[20:40] = 0.5
        return weights

    assert recognise(checkpoint(tmp_path, layers(sparse))) is None


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_the_steps_of_the_dtype_itself_are_no_grid(tmp_path: Path, dtype: str) -> None:
    """Near 1 float16 and bfloat16 have so few values that every block is evenly spaced."""
    assert recognise(checkpoint(tmp_path, layers(lambda seed: 1 + gaussian(seed)), dtype)) is None


def test_a_grid_counts_when_half_of_the_weights_lie_on_it(tmp_path: Path) -> None:
    def mixed(n_on_grid: int) -> Grid | None:
        matrices = {
            f"part{'abcdefgh'[i]}": on_grid("Q5_0", gaussian(i)) if i < n_on_grid else gaussian(i) for i in range(8)
        }
        return recognise(checkpoint(tmp_path, matrices))

    assert mixed(3) is None
    found = mixed(6)
    assert found is not None and (found.name, found.share) == ("Q5_0", 0.75)


def test_k_quants_are_recognised(tmp_path: Path) -> None:
    types = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
    np.save(tmp_path / "before.npy", gaussian(0, 96))
    targets = {type_: str(tmp_path / f"{type_}.npy") for type_ in types}
    oracles.ask("ggml_quantised", source=str(tmp_path / "before.npy"), targets=targets)
    for type_, file in targets.items():
        weights: Floats = np.load(file)
        for dtype in ("F32", "F16", "BF16"):
            found = recognise(checkpoint(tmp_path, {"a": weights[:48], "b": weights[48:]}, dtype))
            assert found is not None and found.name == type_


def test_nothing_but_matrices_of_floats_is_looked_at(tmp_path: Path) -> None:
    odd = {"short": gaussian(0)[:, :33], "experts": on_grid("Q4_0", gaussian(0)).reshape(3, 16, 256)}
    assert recognise(checkpoint(tmp_path, {name: np.ascontiguousarray(value) for name, value in odd.items()})) is None


def test_the_table_is_what_ggml_does() -> None:
    answer = oracles.ask("requantise", types=_TYPES, grids=list(_ERROR_RATIOS), shape=[64, 512], seed=7)
    for type_, usual in answer["usual"].items():
        assert _USUAL_ERRORS[type_] == pytest.approx(usual[0], rel=0.1), type_
    for grid, row in _ERROR_RATIOS.items():
        for type_, ratio in zip(_TYPES, row, strict=True):
            usual, here = answer["usual"][type_], answer["on_grid"][grid][type_]
            assert ratio == pytest.approx(min(here[0] / usual[0], here[1] / usual[1]), abs=0.08), (grid, type_)


# SmolLM2-135M-Instruct's type mixes; divergences of the artifacts on and off the Q4_1 grid of its source, same text:
# Q4_1 0.0030 and 0.0713, Q5_K_M 0.0072 and 0.0209, Q4_K_M 0.0368 and 0.0495, Q3_K_M 0.0959 and 0.1237, Q8_0 0.0042
# and 0.0048. The first two gain more than half, the others less.
@pytest.mark.parametrize(
    ("tensor_types", "shared"),
    [
        ({"Q8_0": 0.21, "Q4_1": 0.79}, True),
        ({"Q8_0": 0.22, "Q5_1": 0.58, "Q6_K": 0.09, "Q5_K": 0.11}, True),
        ({"Q8_0": 0.22, "Q5_0": 0.58, "Q6_K": 0.09, "Q4_K": 0.11}, False),
        ({"Q8_0": 0.21, "Q4_0": 0.49, "Q5_0": 0.10, "Q5_K": 0.01, "Q4_K": 0.19}, False),
        ({"Q8_0": 1.0}, False),
    ],
)
def test_a_mix_shares_a_grid_when_its_error_falls_below_half(tensor_types: dict[str, float], shared: bool) -> None:
    assert shares_grid("Q4_1", tensor_types) is shared


def test_what_the_table_does_not_know_shares_nothing() -> None:
    assert not shares_grid("16 levels", {"Q4_1": 1.0})
    assert not shares_grid("Q4_1", {"MatMulNBits": 1.0})
    assert not shares_grid("Q4_1", {"F16": 1.0})
    assert shares_grid("Q4_1", {"Q4_1": 0.9, "F32": 0.1})
