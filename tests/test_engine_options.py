"""Options of the engines on the pocket model: what must not change the answer, what may, and what an engine lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgequant import Error, child
from edgequant.convert import gguf_write
from edgequant.convert.fused import write as fused
from edgequant.runtimes.session import Settings

pytestmark = pytest.mark.usefixtures("natives_importable")

TOKENS = [(17 * n + n * n) % 1024 for n in range(60)]
#: sums in another order, between products that round to float16; relative to the largest logit
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def gguf_file(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model in float16."""
    target = tmp_path_factory.mktemp("options") / "pocket.gguf"
    job = {"folder": str(pocket_folder), "target": str(target), "format": "F16", "source": "", "name": "pocket"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    return target


@pytest.fixture(scope="module")
def found(gguf_file: Path) -> dict[str, Any]:
    """What llama.cpp made of each option."""
    options = {
        "no mmap": {"mmap": False},
        "small batch": {"batch": 16},
        "one thread": {"threads": 1},
        "threads apart": {"threads": 1, "prefill_threads": 2},
        "flash attention": {"flash_attention": True},
        "no flash attention": {"flash_attention": False},
        "q8_0": {"cache_type": "q8_0"},
        "q4_0": {"cache_type": "q4_0"},
        "q8_0 without flash attention": {"cache_type": "q8_0", "flash_attention": False},
    }
    job = {"container": "gguf", "path": str(gguf_file), "tokens": TOKENS, "options": options}
    made: dict[str, Any] = child.run("native:under_options", job, deadline_seconds=120).unwrap()
    return made


@pytest.mark.parametrize("option", ["no mmap", "one thread", "threads apart"])
def test_what_only_changes_how_it_is_computed_leaves_the_logits(found: dict[str, Any], option: str) -> None:
    assert found[option][0] < 1e-6


@pytest.mark.parametrize("option", ["small batch", "flash attention", "no flash attention"])
def test_what_changes_the_order_of_sums_stays_within_rounding(found: dict[str, Any], option: str) -> None:
    assert found[option][0] < 0.01 and abs(found[option][1]) < 1e-4


def test_a_quantised_cache_costs_a_little_and_fewer_bits_cost_more(found: dict[str, Any]) -> None:
    assert 1e-5 < found["q8_0"][1] < 0.01
    assert found["q8_0"][1] * 5 < found["q4_0"][1] < 0.5


def test_a_quantised_cache_needs_flash_attention(found: dict[str, Any]) -> None:
    kind, said, hint = found["q8_0 without flash attention"]
    assert (kind, said) == ("Error", "llama.cpp keeps a q8_0 cache with flash attention only")
    assert "f16" in hint


@pytest.mark.parametrize("batch", [None, 7])
def test_several_users_get_what_each_would_get_alone(gguf_file: Path, batch: int | None) -> None:
    steps = [[TOKENS[9 * n : 9 * n + 20] for n in range(4)], *([[3 * s + n] for n in range(4)] for s in range(3))]
    job = {"path": str(gguf_file), "steps": steps, "batch": batch}
    seen = child.run("native:several_users", job, deadline_seconds=120).unwrap()
    assert seen["shape"] == [4, 1024]
    assert seen["together"] < ROUNDING and seen["rewound"] < ROUNDING < seen["users differ"]


def test_onnx_runtime_says_what_it_has_no_choice_of(pocket_folder: Path, tmp_path: Path) -> None:
    fused.write(
        {"folder": str(pocket_folder), "target": str(tmp_path / "m"), "format": "onnx-fp32", "options": {}},
        lambda text: None,
    )
    options = {
        "batch": {"batch": 16},
        "no mmap": {"mmap": False},
        "q8_0": {"cache_type": "q8_0"},
        "flash attention": {"flash_attention": True},
        "threads apart": {"threads": 1, "prefill_threads": 2},
        "users": {"users": 2},
    }
    job = {"container": "onnx", "path": str(tmp_path / "m"), "tokens": TOKENS, "options": options}
    found = child.run("native:under_options", job, deadline_seconds=120).unwrap()
    assert found.pop("batch")[0] < ROUNDING
    assert {kind for kind, _, _ in found.values()} == {"Unsupported"}
    assert all("--formats" in hint for _, _, hint in found.values())
    assert "float32, not in q8_0" in found["q8_0"][1] and "one pool of threads" in found["threads apart"][1]


@pytest.mark.parametrize("changes", [{"cache_type": "q5_0"}, {"threads": 0}, {"batch": 0}, {"users": 0}])
def test_settings_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Error):
        Settings(**{"threads": 1, "context": 8, **changes})
