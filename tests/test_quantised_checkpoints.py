"""Checkpoints that are already quantised: what can be read becomes exactly what it stands for, the rest is named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gguf import GGUFReader

import quantised
import small_checkpoint
from edgequant import Error
from edgequant.convert import conversion, gguf_write, small_floats, weights
from edgequant.convert.architectures.keys import check_config
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from quantised import E4M3, E5M2, Array, Quantiser

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}


def compressed(form: str, **weights_: Any) -> dict[str, Any]:
    stated = {
        "num_bits": 8,
        "type": "float",
        "symmetric": True,
        "group_size": None,
        "block_structure": None,
        **weights_,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": stated, "input_activations": None}},
    }


BLOCKED = {**FP8, "weight_block_size": [20, 24]}  # neither divides all sizes of the small model
LAYOUTS: dict[str, tuple[dict[str, Any], Quantiser]] = {
    "fp8, blocks": (BLOCKED, quantised.float8((20, 24), "weight_scale_inv")),
    "fp8, blocks, bfloat16 scales": (
        BLOCKED,
        quantised.float8((20, 24), "weight_scale_inv", scales=ml_dtypes.bfloat16),
    ),
    "fp8, E5M2": (BLOCKED, quantised.float8((20, 24), "weight_scale_inv", dtype=E5M2)),
    "fp8, one scale": (FP8, quantised.float8(None, "weight_scale", shape="scalar")),
    "fp8, one scale in a vector": (FP8, quantised.float8(None, "weight_scale_inv", shape="vector")),
    "fbgemm": (
        {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
        quantised.float8((1, 10**6), "weight_scale"),
    ),
    "modelopt": (
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        quantised.float8(None, "weight_scale", shape="scalar"),
    ),
    "compressed-tensors, tensor": (
        compressed("naive-quantized", strategy="tensor"),
        quantised.float8(None, "weight_scale", shape="vector"),
    ),
    "compressed-tensors, channel": (
        compressed("float-quantized", strategy="channel"),
        quantised.float8((1, 10**6), "weight_scale", scales=ml_dtypes.bfloat16),
    ),
    "compressed-tensors, rows in a vector": (
        compressed("float-quantized", strategy="channel"),
        quantised.float8((1, 10**6), "weight_scale", shape="vector"),
    ),
    "compressed-tensors, block": (
        compressed("float-quantized", strategy="block", block_structure=[20, 24]),
        quantised.float8((20, 24), "weight_scale"),
    ),
    "compressed-tensors, mxfp8": (
        compressed("mxfp8-quantized", strategy="group", group_size=32, scale_dtype="torch.uint8"),
        quantised.float8((1, 32), "weight_scale", scales=np.uint8),
    ),
    "compressed-tensors, mxfp4": (
        compressed("mxfp4-pack-quantized", strategy="group", group_size=32, num_bits=4, scale_dtype="torch.uint8"),
        quantised.mxfp4(".weight_packed", ".weight_scale", blocked=False),
    ),
    "mxfp4": (
        {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
        quantised.mxfp4("_blocks", "_scales", blocked=True),
    ),
}


def written(
    folder: Path, stated: Mapping[str, Any], quantise: Quantiser, *, tied: bool = False, **options: Any
) -> dict[str, Array]:
    """A small Llama, quantised; returns the weights that it stands for."""
    config = {**small_checkpoint.CONFIG, "tie_word_embeddings": tied, "quantization_config": stated}
    meant = quantised.write(folder, small_checkpoint.tensors(tied=tied), quantise=quantise, config=config, **options)
    small_checkpoint.write_tokenizer(folder)
    return meant


def converted(folder: Path, *, dtype: str = "F32") -> dict[str, Array]:
    """The tensors of the GGUF file that becomes of a checkpoint."""
    target = folder.with_suffix(".gguf")
    job = {"folder": str(folder), "target": str(target), "format": dtype, "source": "m", "name": "m", "revision": "r"}
    gguf_write.write(job, lambda _: None)
    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(target).tensors}


# -- what codes stand for


@pytest.mark.parametrize(("dtype", "theirs"), [("F8_E4M3", E4M3), ("F8_E5M2", E5M2), ("F8_E8M0", quantised.E8M0)])
def test_every_code_of_8_bits(dtype: str, theirs: Any) -> None:
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(small_floats.decode(codes, dtype), codes.view(theirs).astype(np.float32))


def test_every_code_of_4_bits_the_first_in_the_lower_half() -> None:
    codes = np.arange(256, dtype=np.uint8)
    theirs = np.stack([codes & 15, codes >> 4], axis=1).ravel().view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    ours = small_floats.decode(codes, "F4_E2M1")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(np.signbit(ours), np.signbit(theirs))


# -- what checkpoints hold


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_weights_are_what_they_stand_for(tmp_path: Path, name: str, tied: bool) -> None:
    stated, quantise = LAYOUTS[name]
    meant = written(tmp_path / "packed", stated, quantise, tied=tied)
    config = {**small_checkpoint.CONFIG, "tie_word_embeddings": tied}
    small_checkpoint.write(tmp_path / "plain", config=config, tensors=meant)
    ours, theirs = converted(tmp_path / "packed"), converted(tmp_path / "plain")
    assert ours.keys() == theirs.keys()
    for tensor, values in theirs.items():
        np.testing.assert_array_equal(ours[tensor], values, err_msg=tensor)
    rough = small_checkpoint.tensors(tied=tied)
    assert any((meant[key] != rough[key]).any() for key in rough)  # otherwise nothing was quantised


@pytest.mark.parametrize("name", ["fp8, blocks", "mxfp4"])
def test_any_run_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    meant = written(tmp_path / "m", *LAYOUTS[name])
    tensors = open_folder(tmp_path / "m").tensors
    for key in ("model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        for first, n_rows in ((0, 1), (19, 2), (5, 27), (len(meant[key]) - 1, 1)):
            rows = weights.read_rows(tensors[key], first, n_rows)
            np.testing.assert_array_equal(rows, meant[key][first : first + n_rows])
        monkeypatch.setattr(weights, "BLOCK_BYTES", 4 * 3 * meant[key].shape[1])
        np.testing.assert_array_equal(weights.read(tensors[key]), meant[key])


@pytest.mark.parametrize("shape", [(3, 50, 64), (2, 32, 96)])
@pytest.mark.parametrize("name", ["fp8, blocks", "mxfp4", "compressed-tensors, channel"])
def test_stacked_matrices_begin_their_blocks_anew(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    stated, quantise = LAYOUTS[name]
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    stored: quantised.Stored = {}
    each = [quantise("x.weight", matrix) for matrix in values]
    for key, (dtype, first) in each[0][0].items():
        stored[key] = (dtype, np.stack([packed[key][1] for packed, _ in each]))
        assert first.shape == stored[key][1].shape[1:]
    quantised.save(tmp_path / "model.safetensors", stored)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": stated}), encoding="utf-8")
    (tensor,) = open_folder(tmp_path).tensors.values()
    assert tensor.shape == shape and tensor.name == "x.weight"
    np.testing.assert_array_equal(weights.read(tensor), np.stack([meant for _, meant in each]))


def test_what_a_checkpoint_says_of_itself(tmp_path: Path) -> None:
    meant = written(tmp_path / "m", *LAYOUTS["fp8, blocks"], quantised=lambda name: "norm" not in name)
    checkpoint = open_folder(tmp_path / "m")
    assert checkpoint.n_parameters == sum(values.size for values in meant.values())
    assert checkpoint.dtype == "F8_E4M3"
    header = int.from_bytes((tmp_path / "m" / "model.safetensors").read_bytes()[:8], "little")
    assert checkpoint.size_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size - 8 - header
    written(tmp_path / "x", *LAYOUTS["mxfp4"], quantised=lambda name: "norm" not in name)
    assert open_folder(tmp_path / "x").dtype == "MXFP4"


def test_scales_decide_the_revision(tmp_path: Path) -> None:
    written(tmp_path / "m", *LAYOUTS["fp8, blocks"])
    before = open_folder(tmp_path / "m").revision
    file = tmp_path / "m" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    assert open_folder(tmp_path / "m").revision != before


@pytest.mark.parametrize(
    ("name", "float_type", "said"),
    [
        ("fp8, blocks", "F16", "dequantised from F8_E4M3 to F16: each weight times its scale, rounded"),
        ("mxfp4", "F16", "dequantised from MXFP4 to F16: exact but for blocks with a scale below 2^-23"),
        ("mxfp4", "BF16", "dequantised from MXFP4 to BF16: exact"),
    ],
)
def test_an_artifact_says_what_it_was_dequantised_from(tmp_path: Path, name: str, float_type: str, said: str) -> None:
    written(tmp_path / "m", *LAYOUTS[name])
    workshop = conversion.Workshop(folder=tmp_path / "artifacts", threads=1)
    assert conversion.convert(open_folder(tmp_path / "m"), FORMATS[float_type], workshop).notes == (said,)


@pytest.mark.parametrize(("exponent", "same"), [(-23, True), (-24, False)])
def test_float16_holds_4_bits_down_to_that_scale(exponent: int, same: bool) -> None:
    values = np.ldexp(quantised.FP4, exponent)
    assert (values.astype(np.float16).astype(np.float32) == values).all() == same


def test_what_is_for_activations_is_left_out(tmp_path: Path) -> None:
    start = "model.layers.0.self_attn."
    one = ("F32", np.array([0.5], dtype=np.float32))
    names = ("q_proj.input_scale", "k_scale", "v_scale", "o_proj.input_scale_ub", "q_proj.output_scale")
    more = {start + name: one for name in names}
    more[start + "q_proj.weight_zero_point"] = ("F32", np.zeros(1, dtype=np.float32))
    meant = written(tmp_path / "m", *LAYOUTS["compressed-tensors, tensor"], more=more)
    assert set(open_folder(tmp_path / "m").tensors) == set(meant)
    assert len(converted(tmp_path / "m")) == len(meant)


# -- what the float types of a file can hold


def test_a_value_beyond_float16_names_the_tensor_and_another_type(tmp_path: Path) -> None:
    def loud(name: str, values: Array) -> tuple[quantised.Stored, Array]:
        stored, meant = quantised.float8((20, 24), "weight_scale_inv")(name, values)
        scale = stored[name + "_scale_inv"][1]
        scale *= 1e6
        return stored, meant * np.float32(1e6)

    written(tmp_path / "m", BLOCKED, loud)
    with pytest.raises(Error, match=r"model\.layers\.0\..*proj.weight holds values beyond the range of F16"):
        converted(tmp_path / "m", dtype="F16")
    assert not (tmp_path / "m.gguf").exists()
    converted(tmp_path / "m", dtype="BF16")


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_a_code_that_is_no_number(tmp_path: Path, code: int) -> None:
    def with_nan(name: str, values: Array) -> tuple[quantised.Stored, Array]:
        stored, meant = quantised.float8((20, 24), "weight_scale_inv")(name, values)
        stored[name][1][3, 5] = code
        return stored, meant

    written(tmp_path / "m", BLOCKED, with_nan)
    with pytest.raises(Error, match=r"proj.weight holds values that are no finite numbers"):
        converted(tmp_path / "m")


def test_bfloat16_holds_4_bit_weights_exactly(tmp_path: Path) -> None:
    meant = written(tmp_path / "m", *LAYOUTS["mxfp4"])
    found = converted(tmp_path / "m", dtype="BF16")["blk.0.ffn_up.weight"].view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(found.astype(np.float32), meant["model.layers.0.mlp.up_proj.weight"])


# -- checkpoints that are damaged or do not fit their configuration


def rewritten(folder: Path, change: Any) -> None:
    """The weights of a folder with `change` applied to what is stored."""
    stored = {}
    for name, tensor in small_checkpoint_tensors(folder).items():
        stored[name] = tensor
    quantised.save(folder / "model.safetensors", change(stored))


def small_checkpoint_tensors(folder: Path) -> quantised.Stored:
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    sizes = {"F8_E4M3": np.uint8, "U8": np.uint8, "F32": np.float32}
    found: quantised.Stored = {}
    for name, row in header.items():
        begin, end = (8 + length + offset for offset in row["data_offsets"])
        found[name] = (row["dtype"], np.frombuffer(data[begin:end], sizes[row["dtype"]]).reshape(row["shape"]))
    return found


@pytest.mark.parametrize(("name", "ending"), [("fp8, blocks", "_scale_inv"), ("mxfp4", "_scales")])
def test_a_weight_without_scales(tmp_path: Path, name: str, ending: str) -> None:
    written(tmp_path / "m", *LAYOUTS[name])
    gone = "model.layers.1.mlp.up_proj.weight" + ending
    rewritten(tmp_path / "m", lambda stored: {key: each for key, each in stored.items() if key != gone})
    with pytest.raises(Error, match=r"lacks the scales of model\.layers\.1\.mlp\.up_proj\.weight"):
        open_folder(tmp_path / "m")


@pytest.mark.parametrize("block", [[10, 24], [128, 128], "128", None, [0, 24]])
def test_scales_that_fit_no_block(tmp_path: Path, block: Any) -> None:
    written(tmp_path / "m", {**FP8, "weight_block_size": block}, LAYOUTS["fp8, blocks"][1])
    with pytest.raises(Error, match=r"the weight .*proj\.weight has the shape \[\d+, \d+\] and its scales \[\d"):
        open_folder(tmp_path / "m")


def test_scales_of_a_weight_that_is_plain_are_not_explained(tmp_path: Path) -> None:
    more = {"model.layers.0.mlp.up_proj.weight_scale": ("F32", np.ones(1, dtype=np.float32))}
    written(tmp_path / "m", FP8, LAYOUTS["fp8, blocks"][1], quantised=lambda name: False, more=more)
    with pytest.raises(Error, match=r"does not explain: model\.layers\.0\.mlp\.up_proj\.weight_scale"):
        converted(tmp_path / "m")


def test_float8_without_a_word_in_the_configuration(tmp_path: Path) -> None:
    written(tmp_path / "m", {}, LAYOUTS["fp8, blocks"][1])
    with pytest.raises(Error, match=r"does not explain: model\.layers\.0\..*weight_scale_inv"):
        converted(tmp_path / "m")


# -- what is refused, by name


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"GPTQ \(4 bits\)"),
    "awq": ({"quant_method": "awq", "w_bit": 4}, r"AWQ \(4 bits\)"),
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
    "older bitsandbytes": ({"load_in_8bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes"),
    "hqq": ({"quant_method": "hqq"}, "HQQ"),
    "aqlm": ({"quant_method": "aqlm"}, "AQLM"),
    "quanto": ({"quant_method": "quanto", "weights": "int8"}, "Quanto"),
    "torchao": ({"quant_method": "torchao"}, "torchao"),
    "eetq": ({"quant_method": "eetq"}, "EETQ"),
    "auto-round": ({"quant_method": "auto-round", "bits": 4}, r"AutoRound \(4 bits\)"),
    "bitnet": ({"quant_method": "bitnet"}, "BitNet"),
    "vptq": ({"quant_method": "vptq"}, "VPTQ"),
    "spqr": ({"quant_method": "spqr"}, "SpQR"),
    "higgs": ({"quant_method": "higgs"}, "HIGGS"),
    "quark": ({"quant_method": "quark"}, "AMD Quark"),
    "fp_quant": ({"quant_method": "fp_quant"}, "FP-Quant"),
    "nvfp4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVIDIA ModelOpt NVFP4"),
    "int8": (compressed("int-quantized", type="int"), r"compressed-tensors \(int-quantized, int8 weights\)"),
    "packed": (
        compressed("pack-quantized", type="int", num_bits=4),
        r"compressed-tensors \(pack-quantized, int4 weights\)",
    ),
    "nvfp4 of compressed-tensors": (
        compressed("nvfp4-pack-quantized", num_bits=4, group_size=16),
        r"compressed-tensors \(nvfp4-pack-quantized\)",
    ),
    "asymmetric": (compressed("float-quantized", symmetric=False), "asymmetric weights"),
    "sparse": (
        {**compressed("float-quantized"), "sparsity_config": {"format": "sparse-24-bitmask"}},
        "sparsity sparse-24-bitmask",
    ),
    "rotated": (
        {**compressed("float-quantized"), "transform_config": {"config_groups": {"R1": {}}}},
        "transformed weights",
    ),
    "mlx": ({"group_size": 64, "bits": 4}, r"MLX \(4 bits\)"),
    "unheard of": ({"quant_method": "tomorrow"}, "tomorrow"),
    "unnamed": ({"bits": 3}, r"an unnamed method \(3 bits\)"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_other_methods_are_refused_by_name(tmp_path: Path, name: str) -> None:
    stated, called = REFUSED[name]
    config = {**small_checkpoint.CONFIG, "quantization_config": stated}
    small_checkpoint.write(tmp_path / "m", config=config)
    with pytest.raises(Error, match=rf"is already quantised with .*{called}.*cannot be read") as caught:
        check_config(open_folder(tmp_path / "m"))
    assert caught.value.hint == "start from the unquantised checkpoint that it was made from"
    with pytest.raises(Error, match="already quantised"):
        converted(tmp_path / "m")
    assert not (tmp_path / "m.gguf").exists()


def test_mlx_has_a_key_of_its_own(tmp_path: Path) -> None:
    small_checkpoint.write(
        tmp_path / "m", config={**small_checkpoint.CONFIG, "quantization": {"group_size": 64, "bits": 8}}
    )
    with pytest.raises(Error, match=r"already quantised with MLX \(8 bits\)"):
        check_config(open_folder(tmp_path / "m"))


def test_the_base_model_of_the_card_is_named(tmp_path: Path) -> None:
    config = {**small_checkpoint.CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    small_checkpoint.write(tmp_path / "m", config=config)
    (tmp_path / "m" / "README.md").write_text("---\nbase_model:\n- org/Model-1B\n---\n# M\n", encoding="utf-8")
    with pytest.raises(Error, match=r"GPTQ \(4 bits\)") as caught:
        check_config(open_folder(tmp_path / "m"))
    assert "org/Model-1B" in caught.value.hint


def test_one_group_of_layers_that_cannot_be_read_is_enough(tmp_path: Path) -> None:
    stated = compressed("mixed-precision")
    fine = {**stated["config_groups"]["group_0"], "format": "float-quantized"}
    other = {**fine, "format": "pack-quantized", "weights": {"type": "int", "num_bits": 4}}
    config = {**small_checkpoint.CONFIG, "quantization_config": {**stated, "config_groups": {"a": fine, "b": other}}}
    small_checkpoint.write(tmp_path / "m", config=config)
    with pytest.raises(Error, match=r"pack-quantized, int4 weights"):
        check_config(open_folder(tmp_path / "m"))


@pytest.mark.parametrize("stated", [None, {}, "fp8", []])
def test_no_configuration_of_that_kind(tmp_path: Path, stated: Any) -> None:
    config = {**small_checkpoint.CONFIG, "quantization_config": stated}
    small_checkpoint.write(tmp_path / "m", config=config)
    check_config(open_folder(tmp_path / "m"))
