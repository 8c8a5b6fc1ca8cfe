"""The gate on quantised ONNX graphs: faithful weights and kernels pass, damaged ones fail and are named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnx_damage
import small_checkpoint
from edgequant import child
from edgequant.convert import rescaled_copy
from edgequant.convert.artifact import Artifact
from edgequant.convert.calibration import smoothquant
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.fused import write
from edgequant.convert.inspection import count_onnx
from edgequant.convert.onnx_header import read_header
from edgequant.convert.onnx_options import OnnxOptions
from edgequant.convert.rescale import sites
from edgequant.verify.finding import FAILED, NOT_CHECKED, PASSED, WARNING
from edgequant.verify.gate import _in_line
from edgequant.verify.onnx_products import with_outputs
from edgequant.verify.reference import Reference

pytestmark = pytest.mark.usefixtures("natives_importable")
TOKENS = [(31 * n + n * n) % small_checkpoint.VOCABULARY for n in range(64)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, with more of them in the middle than at the ends, as trained ones have."""
    return small_checkpoint.write(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    return {name: convert(checkpoint, folder / name, name) for name in ("onnx-fp32", "onnx-int8", "onnx-w8a8")}


def convert(checkpoint: Path, target: Path, name: str, **options: Any) -> Path:
    job = {"folder": str(checkpoint), "target": str(target), "format": name, "threads": 1}
    write.write({**job, "options": OnnxOptions(**options).job()}, lambda text: None)
    return target


def weights(path: Path, checkpoint: Path, *, smoothed: bool = False, reference: str = "") -> Any:
    job = {"path": str(path), "folder": str(checkpoint), "reference": reference, "smoothed": smoothed}
    return child.run("edgequant.verify.onnx_weights:check", job).unwrap()


def kernels(path: Path, *, entry: str = "edgequant.verify.onnx_products:check") -> Any:
    settings = {"threads": 1, "context": 64}
    return child.run(entry, {"path": str(path), "tokens": TOKENS, "settings": settings}).unwrap()


# -- weights


@pytest.mark.parametrize("name", ["onnx-int8", "onnx-w8a8"])
def test_faithful_weights_and_kernels_pass(made: dict[str, Path], checkpoint: Path, name: str) -> None:
    """Of two layers four products each, and the embedding as it is looked up and as the head."""
    found = weights(made[name], checkpoint)
    assert found["verdict"] == PASSED and len(found["samples"]) == 9, found
    assert 0.003 < max(found["samples"]) < 0.01  # 8 bits: step / sqrt(12) of the largest of 32 weights
    found = kernels(made[name])
    assert found["verdict"] == PASSED and len(found["samples"]) == 20 and max(found["samples"]) < 1e-3, found


def moved(rows: NDArray[Any]) -> NDArray[Any]:
    """Two neighbouring rows in each other's place."""
    rows[[4, 5]] = rows[[5, 4]]
    return rows


def longer(scales: NDArray[Any]) -> NDArray[Any]:
    """The steps of one row a twentieth longer: of the whole matrix that is less than its rounding."""
    scales.reshape(len(scales), -1)[7] *= 1.05
    return scales


def one_bit(data: NDArray[Any]) -> NDArray[Any]:
    data.reshape(-1).view(np.uint8)[5] ^= 0x40
    return data


@pytest.mark.parametrize(
    ("name", "tensor", "change", "said"),
    [
        ("onnx-int8", "blk.1.attn_qkv.weight.blocks", moved, "blk.1.attn_qkv.weight (int8 in blocks of 32) is "),
        ("onnx-int8", "blk.0.ffn_down.weight.scales", longer, "blk.0.ffn_down.weight (int8 in blocks of 32) is "),
        ("onnx-int8", "blk.0.attn_output.weight.blocks", one_bit, "blk.0.attn_output.weight (int8"),
        (
            "onnx-w8a8",
            "blk.1.ffn_gate_up.weight.int8",
            one_bit,
            "blk.1.ffn_gate_up.weight (int8 with a scale a row) is",
        ),
        ("onnx-int8", "token_embd.weight.", moved, "token_embd.weight"),
    ],
)
def test_damaged_weights_are_named(
    made: dict[str, Path],
    checkpoint: Path,
    tmp_path: Path,
    name: str,
    tensor: str,
    change: Callable[[NDArray[Any]], NDArray[Any]],
    said: str,
) -> None:
    """Kernels are right all the same: they are looked at with the weights that are there."""
    path = Path(shutil.copytree(made[name], tmp_path / "x"))
    onnx_damage.change_data(path, tensor, change)
    found = weights(path, checkpoint)
    assert found["verdict"] == FAILED and said in found["said"], found
    assert kernels(path)["verdict"] == PASSED


def other_norm(model: onnx.ModelProto) -> None:
    norm = next(t for t in model.graph.initializer if t.name == "blk.1.ffn_norm.weight")
    values = onnx.numpy_helper.to_array(norm).copy()
    values[3] *= 1.01
    norm.CopyFrom(onnx.numpy_helper.from_array(values, norm.name))


def elsewhere(form: str, model: onnx.ModelProto) -> None:
    """The look-up in the embedding, or the head, reads its rows from the third on; the other one is right."""
    onnx_damage.point(f"token_embd.weight.{form}", offset=2 * small_checkpoint.HIDDEN)(model)


def without_a_layer(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "MatMulNBits" and node.input[1].startswith("blk.1.ffn_down"):
            node.op_type, node.domain = "Unknown", "nobody"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_norm, "blk.1.ffn_norm.weight holds other numbers"),
        (partial(elsewhere, "blocks"), "token_embd.weight (int8 in blocks of 32) is"),
        (partial(elsewhere, "rows"), "token_embd.weight (int8 in blocks of 32) is"),
        (without_a_layer, "blk.1.ffn_down.weight is no product of the graph"),
    ],
)
def test_damaged_graphs_are_named(
    made: dict[str, Path], checkpoint: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], said: str
) -> None:
    path = Path(shutil.copytree(made["onnx-int8"], tmp_path / "x"))
    onnx_damage.edit(path, change)
    found = weights(path, checkpoint)
    assert found["verdict"] == FAILED and said in found["said"], found


def test_without_a_float_graph_one_of_another_maker_is_not_checked(
    made: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    """A head of four elements is none for our own graph: Optimum would have made it."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    small_checkpoint.change_json(folder / "config.json", num_attention_heads=8, num_key_value_heads=4)
    assert weights(made["onnx-int8"], folder)["verdict"] == NOT_CHECKED
    beside = weights(made["onnx-int8"], folder, reference=str(made["onnx-fp32"]))
    assert beside["verdict"] == PASSED, beside


# -- kernels


@pytest.mark.parametrize("wrong", ["rows_left_out_of_several", "rows_left_out_of_one", "one_row_off", "sums_cut_off"])
def test_wrong_kernels_are_seen(checkpoint: Path, tmp_path: Path, made: dict[str, Path], wrong: str) -> None:
    found = kernels(made["onnx-w8a8"], entry=f"onnx_damage:{wrong}")
    assert found["verdict"] == FAILED and "off numpy's product" in found["said"], found
    if wrong == "sums_cut_off":
        reduced = convert(checkpoint, tmp_path / "reduced", "onnx-w8a8", reduce_range=True)
        assert kernels(reduced, entry=f"onnx_damage:{wrong}")["verdict"] == PASSED
        assert weights(reduced, checkpoint)["verdict"] == PASSED


def test_a_graph_with_more_outputs_is_the_same_to_the_onnx_package(made: dict[str, Path]) -> None:
    data, names = (made["onnx-int8"] / "model.onnx").read_bytes(), ["a", "x" * 300]
    before, after = onnx.load_from_string(data), onnx.load_from_string(with_outputs(data, names))
    assert [value.name for value in after.graph.output] == [*(v.name for v in before.graph.output), *names]
    del after.graph.output[-2:]
    assert after == before


def test_weights_of_our_own_graph_count_once(made: dict[str, Path], checkpoint: Path) -> None:
    """The embedding in blocks is the head as well; caches of positions and scales are no weights."""
    n_weights = open_folder(checkpoint).n_parameters
    n_rows = 2 * (64 + 32 + 96 + 32)  # q, k, v; o; gate, up; down
    codes, scales, norms = 320 * 32 + 2 * (64 * 32 + 32 * 32 + 96 * 32), 320, 5 * 32
    down = 2 * 32 * 48  # whose rows are one and a half blocks
    sizes = {
        "onnx-fp32": 4 * n_weights,
        "onnx-int8": codes + 2 * 32 * 64 + 4 * (scales + n_rows + 2 * 32) + 4 * norms,
        "onnx-w8a8": codes + down + 4 * (scales + n_rows) + 4 * norms,
    }
    for name, n_bytes in sizes.items():
        contents = count_onnx(read_header(made[name] / "model.onnx"))
        assert (contents.n_weights, contents.n_bytes) == (n_weights, n_bytes), name
        assert next(iter(contents.tensor_types)) == ("float32" if name == "onnx-fp32" else "int8")


# -- files that were tampered with end in one line, wherever they are opened


def without_the_last_byte(path: Path) -> None:
    file = path / "model.onnx.data"
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)


def pointing(path: Path, **entries: object) -> None:
    onnx_damage.edit(path, onnx_damage.point("blk.1.ffn_down.weight.blocks", **entries))


TAMPERED: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "last byte": (without_the_last_byte, "out of bounds"),
    "beyond the end": (partial(pointing, offset=10**12), "out of bounds"),
    "before the start": (partial(pointing, offset=-4096), "out of bounds"),
    "no number": (partial(pointing, offset="somewhere"), "parse"),
    "too short": (partial(pointing, length=12), "size mismatch"),
    "outside": (partial(pointing, location="../../etc/passwd"), "escapes"),
    "half a graph": (lambda path: (path / "model.onnx").write_bytes(b"\x3a\xff\x01half"), "Protobuf parsing failed"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_tampered_with_ends_in_one_line(
    made: dict[str, Path], checkpoint: Path, tmp_path: Path, how: str
) -> None:
    path = Path(shutil.copytree(made["onnx-int8"], tmp_path / "x"))
    change, said = TAMPERED[how]
    change(path)
    outcome = child.run("onnx_damage:load", {"path": str(path)})
    assert outcome.status == "error" and said in outcome.note and len(outcome.note.splitlines()) == 1, outcome
    looked = [
        child.run(entry, {"path": str(path), "folder": str(checkpoint), "reference": "", "smoothed": False, **more})
        for entry, more in (
            ("edgequant.verify.onnx_weights:check", {}),
            ("edgequant.verify.onnx_products:check", {"tokens": TOKENS, "settings": {"threads": 1, "context": 64}}),
        )
    ]
    for outcome in looked:
        assert outcome.status in ("error", "ok") and "Traceback" not in outcome.note
        assert len((outcome.note or outcome.value["said"]).splitlines()) == 1
    assert any(each.status == "error" or each.value["verdict"] == FAILED for each in looked)


# -- smoothed ones


def test_a_smoothed_one_whose_columns_moved_is_seen(checkpoint: Path, tmp_path: Path) -> None:
    """Damage must not pass for factors: those of a site are the same in all that it reads and writes."""
    draw, rescaled, factors = np.random.default_rng(5), tmp_path / "rescaled", tmp_path / "factors.safetensors"
    every = sites(open_folder(checkpoint).config)
    found = {site.name: np.exp(draw.uniform(-2, 2, site.n_channels)).astype(np.float32) for site in every}
    smoothquant.save(factors, found)
    rescaled.mkdir()
    job = {"folder": str(checkpoint), "target": str(rescaled), "factors": str(factors)}
    rescaled_copy.write(job, lambda text: None)
    path = convert(rescaled, tmp_path / "x", "onnx-w8a8-smooth")
    assert weights(path, checkpoint, smoothed=True)["verdict"] == PASSED
    assert weights(path, checkpoint)["verdict"] == FAILED
    onnx_damage.change_data(path, "blk.1.ffn_down.weight.int8", moved)
    seen = weights(path, checkpoint, smoothed=True)
    assert seen["verdict"] == FAILED and "blk.1.ffn_down.weight" in seen["said"], seen


# -- the verdict on the divergence


@pytest.mark.parametrize(
    ("name", "nats", "looked_at", "verdict"),
    [
        ("onnx-int8-dynamic", 0.61, (PASSED, PASSED), PASSED),
        ("onnx-int8-dynamic", 3.0, (PASSED, PASSED), WARNING),
        ("onnx-int8-dynamic", 0.61, (PASSED, NOT_CHECKED), WARNING),
        ("onnx-int8-dynamic", 0.61, (PASSED, FAILED), FAILED),
        ("onnx-int8", 0.61, (PASSED, PASSED), WARNING),
        ("onnx-int8", 0.004, (PASSED, PASSED), PASSED),
    ],
)
def test_what_rounding_activations_costs_is_no_failure(
    name: str, nats: float, looked_at: tuple[str, str], verdict: str
) -> None:
    values = {"kl_divergence": nats, "divergences": [nats], "same_top_token": 0.7, "largest_difference": 0.1}
    words = {
        "checkpoint": "",
        "checkpoint_revision": "",
        "format": name,
        "container": "onnx",
        "path": "x",
        "sha256": "",
    }
    numbers = {"size_bytes": 0, "true_bits_per_weight": 8.3, "seconds": 0.0, "made_by": {}, "tensor_types": {"int8": 1}}
    finding = _in_line(
        Artifact(**words, **numbers),  # type: ignore[arg-type]
        values,
        Reference(name="onnx-fp32", file=Path("x")),
        [],
        looked_at,
    )
    assert finding.verdict == verdict
    assert ("rounding activations" in finding.said) == (name == "onnx-int8-dynamic" and looked_at == (PASSED, PASSED))
