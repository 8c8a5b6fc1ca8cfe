"""Each key of a configuration made wrong once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decoders import Decoder
from edgequant.convert.architectures.table import ARCHITECTURES

_EPSILONS = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"}


def wrong(value: Any) -> Any:
    """Another value of the same sort; None where only a person can name one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 if value > 8 else value - 1
    if isinstance(value, float):
        return value * 1.5
    if isinstance(value, list) and value and isinstance(value[0], float):
        return [number * 1.5 for number in value[: len(value) // 2]] + value[len(value) // 2 :]
    return None


def wrong_configurations(decoder: Decoder, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, config.json with that key wrong) for every key that the architecture reads and that has a value."""
    row = ARCHITECTURES[decoder.kind]
    for key in (*row.reads, *row.aliases):
        value = config.get(key, row.defaults.get(key))
        changed = decoder.perturbed.get(key, 0.3 if key in _EPSILONS else wrong(value))
        if changed is not None:
            yield key, {**config, key: changed}
    scaling = config.get("rope_scaling")
    if scaling:
        yield "rope_scaling", {**config, "rope_scaling": None}
        for key, value in scaling.items():
            if wrong(value) is not None:
                changed = 1024 if key == "original_max_position_embeddings" else wrong(value)
                yield f"rope_scaling.{key}", {**config, "rope_scaling": {**scaling, key: changed}}
