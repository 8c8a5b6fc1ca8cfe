"""Which format suits which processor: golden from what onnxruntime was seen to do there, and from its arithmetic."""

import numpy as np
import pytest

from edgequant import Error
from edgequant.convert.formats import FORMATS, find
from edgequant.profiles import device, kernels
from edgequant.profiles.kernels import REDUCED, SLOW, fact, reduces_range

WITHOUT_DOTPROD = ("rpi-zero2w", "rpi3b-plus", "rpi4-1gb", "rpi4-2gb", "rpi4-4gb", "rpi4-8gb")
WITH_DOTPROD = ("rpi5-4gb", "rk3588-16gb", "jetson-orin-nano-8gb", "macbook-air-m1-8gb", "macbook-air-m4-16gb")
WITHOUT_VNNI = ("avx2-laptop-8gb", "cloud-vm-2c-4gb")
WITH_VNNI = ("n100-16gb", "core-ultra-155h-32gb", "ryzen-7840u-32gb")
SKYLAKE_SERVER = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f")
SANDY_BRIDGE = ("sse4_2", "avx")


def word(format_name: str, device_name: str) -> str:
    found = fact(format_name, device.load(device_name).isa)
    return found.word if found else ""


@pytest.mark.parametrize("name", WITHOUT_DOTPROD)
def test_blocks_are_slow_on_arm_without_dot_products(name: str) -> None:
    """Seen on Cortex-A53 and A72: the answers of MatMulNBits at accuracy level 4 are float32's, 30 times as slow."""
    assert [word(f, name) for f in ("onnx-int8", "onnx-int4", "onnx-int4-gptq")] == [SLOW] * 3
    assert [word(f, name) for f in ("onnx-w8a8", "onnx-w8a8-smooth", "onnx-int8-dynamic", "onnx-fp32")] == [""] * 4
    found = fact("onnx-int8", device.load(name).isa)
    assert found and "prefer onnx-w8a8" in found.reason


@pytest.mark.parametrize("name", WITH_DOTPROD)
def test_blocks_are_fine_on_arm_with_dot_products(name: str) -> None:
    """Seen on Cortex-A76 and with i8mm: as on x86, 4 bits too where their zero points are said."""
    assert (word("onnx-int8", name), word("onnx-w8a8", name)) == ("", "")
    assert word("onnx-int4", name) == ""


@pytest.mark.parametrize("name", [*WITHOUT_VNNI, *WITH_VNNI])
def test_x86_without_vnni_needs_weights_of_7_bits_where_activations_are_rounded(name: str) -> None:
    """Seen on Haswell, exact on the AVX512-VNNI of this project's own figures; N100 and Core Ultra have AVX-VNNI."""
    rounded = [word(f, name) for f in ("onnx-w8a8", "onnx-w8a8-smooth", "onnx-int8-dynamic", "onnx-int8-static")]
    assert rounded == ([REDUCED] * 4 if name in WITHOUT_VNNI else [""] * 4)
    assert (word("onnx-int8", name), word("onnx-int4", name)) == ("", "")
    assert reduces_range(device.load(name).isa) == (name in WITHOUT_VNNI)


def test_avx512_alone_saturates_and_a_processor_before_avx2_does_not() -> None:
    """Seen on Skylake-Server: off by 19 %; on SandyBridge: exact, by another kernel, but blocks are unpacked."""
    assert reduces_range(SKYLAKE_SERVER) and not reduces_range((*SKYLAKE_SERVER, "avx512_vnni"))
    assert not reduces_range(SANDY_BRIDGE)
    found = fact("onnx-int8", SANDY_BRIDGE)
    assert found and found.word == SLOW


def test_arm_never_reduces_the_range() -> None:
    """Seen on all four: MatMulInteger of u8 by s8 exact over the full range."""
    assert not any(reduces_range(device.load(name).isa) for name in (*WITHOUT_DOTPROD, *WITH_DOTPROD))


def test_what_nobody_knows_of_is_fine() -> None:
    assert fact("onnx-int8", ()) is None and fact("onnx-w8a8", ()) is None and not reduces_range(())
    assert all(fact(name, ("neon",)) is None for name in ("Q4_K_M", "F16", "a format of tomorrow"))
    assert all(fact(name, ("sse4_2", "avx2")) is None for name, fmt in FORMATS.items() if fmt.container == "gguf")


def test_every_fact_says_what_it_rests_on_in_lines_that_fit() -> None:
    for each in kernels.FACTS:
        assert "seen under emulation" in each.source
        assert each.reason and "\n" not in each.reason and len(each.reason) < 120


def saturating_pairs(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Intel's vpmaddubsw: products of neighbours (u8 by s8) are added in 16 bits that stop at their ends."""
    pairs = (activations.astype(np.int32) * weights).reshape(len(weights) // 2, 2).sum(axis=1)
    return np.clip(pairs, -32768, 32767)


def test_seven_bits_are_what_sums_of_two_products_can_hold() -> None:
    """The worst pair of each width: 255 by the largest weight, twice."""
    largest = np.full(2, 255, np.uint8)
    for weight, exact in ((63, True), (-64, True), (65, False), (-65, False), (127, False), (-128, False)):
        held = int(saturating_pairs(largest, np.full(2, weight)).sum())
        assert (held == 2 * 255 * weight) is exact, weight


def test_what_the_options_of_an_artifact_follow() -> None:
    plain = {"reduce_range": False, "plain_head": False}
    vnni, neon = ("sse4_2", "avx2", "avx512_vnni"), ("neon",)
    assert kernels.suited(vnni, vnni) == plain
    assert kernels.suited(SKYLAKE_SERVER, vnni) == plain | {"reduce_range": True}
    assert kernels.suited(vnni, SKYLAKE_SERVER) == plain | {"reduce_range": True}  # it measures for the other
    assert kernels.suited(neon, vnni) == plain | {"plain_head": True}


@pytest.mark.parametrize("name", ["onnx-fp8", "FP8", "f8_e4m3", "float8"])
def test_fp8_is_named_wherever_it_is_asked_for(name: str) -> None:
    with pytest.raises(Error, match="FP8 has no CPU kernel"):
        find(name)
    assert find("F16").name == "F16"
