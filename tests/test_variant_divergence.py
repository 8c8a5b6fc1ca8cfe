"""The divergence of a quantised cache from the same file's plain run, and what is stored of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import recorded
from edgequant.accuracy.preparation import UNSCORED_TOKENS
from edgequant.convert import gguf_write
from edgequant.convert.artifact import Artifact
from edgequant.profiles.measuring.measuring import Measuring
from edgequant.profiles.measuring.rounds import Take
from edgequant.profiles.measuring.variant import Variant
from edgequant.profiles.measuring.variant_quality import SAME_FILE, VariantQuality
from edgequant.profiles.records.store import Store

TOKENS = [(17 * n + n * n) % 1024 for n in range(2 * UNSCORED_TOKENS + 8)]


@pytest.fixture(scope="module")
def artifact(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The pocket model in float16."""
    target = tmp_path_factory.mktemp("divergence") / "pocket.gguf"
    job = {"folder": str(pocket_folder), "target": str(target), "format": "F16", "source": "", "name": "pocket"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    return recorded.artifact("F16", path=str(target))


@pytest.fixture
def quality(tmp_path: Path) -> VariantQuality:
    """Two windows of tokens as the text."""
    prepared = {"folder": "", "windows": [TOKENS, TOKENS[::-1]], "items": []}
    (tmp_path / "prepared.json").write_text(json.dumps(prepared))
    measuring = Measuring(store=Store(tmp_path / "r.jsonl"), run="r", device=recorded.device(), context=128)
    measuring.fence.repack = False
    return VariantQuality(measuring=measuring, prepared=tmp_path / "prepared.json")


def measured(quality: VariantQuality, take: Take) -> dict[str, tuple[float, ...]]:
    assert quality.measure(take, lambda text: None).status == "ok"
    return {row.metric: row.samples for row in quality.measuring.store.rows[-2:]}


def test_a_quantised_cache_diverges_a_little(quality: VariantQuality, artifact: Artifact) -> None:
    take = Take(artifact=artifact, variant=Variant(cache_type="q8_0"))
    assert not quality.has(take)
    found = measured(quality, take)
    assert len(found["kl_divergence"]) == len(found["same_top_token"]) == 2
    assert all(1e-5 < nats < 0.01 for nats in found["kl_divergence"])
    assert all(share > 0.9 for share in found["same_top_token"])
    row = quality.measuring.store.rows[0]
    assert row.variant == {"cache_type": "q8_0"} and row.parameters["reference"] == SAME_FILE
    assert quality.has(take) and not quality.has(Take(artifact=artifact, variant=Variant(cache_type="q4_0")))


def test_what_computes_the_same_diverges_by_nothing(quality: VariantQuality, artifact: Artifact) -> None:
    found = measured(quality, Take(artifact=artifact))
    assert all(abs(nats) < 1e-6 for nats in found["kl_divergence"])
    assert found["same_top_token"] == (1.0, 1.0)


def test_another_text_is_measured_anew(quality: VariantQuality, artifact: Artifact) -> None:
    take = Take(artifact=artifact, variant=Variant(flash_attention=False))
    measured(quality, take)
    quality.prepared.write_text(quality.prepared.read_text().replace("[", "[ ", 1))
    assert not quality.has(take)
