"""config.json as transformers 4 writes it, in the words of transformers 5, and back.

The records beside this file are digests of what transformers 5 itself writes for each decoder; after a change of
decoders.py `.venv-new/bin/python tests/dialects.py` makes them anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgequant.convert.architectures.keys import IRRELEVANT
from edgequant.convert.architectures.table import ARCHITECTURES

RECORDS = Path(__file__).with_name("transformers_5.json")
_ROPE_4 = ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")
_RENAMED = {"Qwen3MoeForCausalLM": {"num_experts": "num_local_experts"}}
_REMOVED = {
    "Gemma4ForCausalLM": ("global_head_dim", "num_global_key_value_heads"),
    "GPTNeoXForCausalLM": ("rotary_pct", "rotary_emb_base"),
}


def as_transformers_5(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """What transformers 5 writes for the class `kind` where 4 writes `config`; keys that decide nothing stay."""
    new = {key: value for key, value in config.items() if key not in _ROPE_4}
    if "text_config" in config:
        inner = kind.replace("ForConditionalGeneration", "ForCausalLM")
        new["text_config"] = as_transformers_5(config["text_config"], inner)
    elif "rope_theta" in config:
        new["rope_parameters"] = _rope_parameters(config)
    new.setdefault("tie_word_embeddings", True)
    for old, name in _RENAMED.get(kind, {}).items():
        new[name] = new.pop(old)
    new |= _own(config, kind)
    return {key: value for key, value in new.items() if key not in _REMOVED.get(kind, ())}


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(config.get("rope_scaling") or {})
    scaling.setdefault("rope_type", scaling.get("type", "default"))
    scaling["rope_theta"] = config["rope_theta"]
    if "partial_rotary_factor" in config:
        scaling["partial_rotary_factor"] = config["partial_rotary_factor"]
    if scaling["rope_type"] == "longrope":
        scaling["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    if "rope_local_base_freq" not in config:
        return scaling
    local = {"rope_theta": config["rope_local_base_freq"], "rope_type": "default"}
    return {"full_attention": scaling, "sliding_attention": local}


def _own(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Keys that one class alone has or fills in."""
    if kind in ("GemmaForCausalLM", "Gemma2ForCausalLM"):
        return {"use_bidirectional_attention": None}
    if kind == "Gemma4ForCausalLM":
        own = {"head_dim": config["global_head_dim"], "num_key_value_heads": config["num_global_key_value_heads"]}
        heads = {key: value for key, value in own.items() if value is not None}
        whole = [layer for layer, layer_kind in enumerate(config["layer_types"]) if layer_kind == "full_attention"]
        digits = len(str(config["num_hidden_layers"] - 1))
        return {"per_layer_config": {f"{layer:0{digits}}": heads for layer in whole}}
    if kind == "GptOssForCausalLM":
        return {"swiglu_alpha": 1.702, "swiglu_limit": config.get("swiglu_limit", 7.0)}
    if kind == "Lfm2ForCausalLM":
        return {"full_attn_idxs": None}
    if kind == "MistralForCausalLM":
        usual = config["hidden_size"] // config["num_attention_heads"]
        return {"head_dim": usual if config["head_dim"] is None else config["head_dim"]}
    if kind == "Phi3ForCausalLM":  # said twice where it is not 1
        share = config["partial_rotary_factor"]
        return {"partial_rotary_factor": share} if share != 1.0 else {}
    if kind == "Qwen2MoeForCausalLM":
        slides, layers = config["use_sliding_window"], range(config["num_hidden_layers"])
        near = [slides and layer < config["max_window_layers"] and layer % 2 == 0 for layer in layers]
        kinds = ["sliding_attention" if slide else "full_attention" for slide in near]
        return {"layer_types": kinds, "sliding_window": config["sliding_window"] if slides else 0}
    return {}


def as_transformers_4(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """The rotation and renamed keys as transformers 4 says them; what neither has stays."""
    renamed = {name: old for old, name in _RENAMED.get(kind, {}).items()}
    old = {renamed.get(key, key): value for key, value in config.items()}
    if "text_config" in config:
        old["text_config"] = as_transformers_4(config["text_config"], kind)
    parameters, listed = old.pop("rope_parameters", None), old.pop("per_layer_config", None)
    if listed:  # Gemma 4's own files name what its full layers have
        own = next(iter(listed.values()))
        old |= {"global_head_dim": own["head_dim"], "num_global_key_value_heads": own.get("num_key_value_heads")}
    if parameters is None:
        return old
    if "full_attention" in parameters:
        old["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        parameters = parameters["full_attention"]
    scaling = dict(parameters)
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in scaling:
            old[key] = scaling.pop(key)
    return old | {"rope_scaling": scaling if scaling["rope_type"] != "default" else None}


_MLP = {"MixtralForCausalLM": ("block_sparse_moe", "w1", "w3", "w2")}


def with_stacked_experts(tensors: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The tensors as transformers 5 has them in memory: one stack for gates and ups, one for downs."""
    import numpy as np

    part, *names = _MLP.get(kind, ("mlp", "gate_proj", "up_proj", "down_proj"))
    new = {name.replace(f"{part}.gate.", "mlp.gate."): t for name, t in tensors.items() if ".experts." not in name}
    for start in sorted({name.partition(".experts.")[0] for name in tensors if ".experts." in name}):
        n_experts = sum(name.startswith(f"{start}.experts.") for name in tensors) // len(names)
        gates, ups, downs = (
            np.stack([tensors[f"{start}.experts.{expert}.{name}.weight"] for expert in range(n_experts)])
            for name in names
        )
        new[f"{start.removesuffix(part)}mlp.experts.gate_up_proj"] = np.concatenate([gates, ups], axis=1)
        new[f"{start.removesuffix(part)}mlp.experts.down_proj"] = downs
    return new


def deciding(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The keys that decide something about the text model of the class `kind`."""
    ignored = IRRELEVANT | ARCHITECTURES[kind].irrelevant | {"vision_config"}
    kept = {key: value for key, value in config.items() if key not in ignored}
    return kept | ({"text_config": deciding(config["text_config"], kind)} if "text_config" in config else {})


def digest(config: Mapping[str, Any], kind: str) -> str:
    """Twelve digits that stand for the keys that decide something."""
    return hashlib.sha256(json.dumps(deciding(config, kind), sort_keys=True).encode()).hexdigest()[:12]


def written(models: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> config.json of the installed transformers, for Decoders by name."""
    jobs = {name: {"class": model.kind, "config": model.config} for name, model in models.items()}
    script = Path(__file__).with_name("random_models.py")
    done = subprocess.run(
        [sys.executable, script], input=json.dumps({"configs": jobs}), capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    from decoders import DECODERS

    found = {name: digest(config, DECODERS[name].kind) for name, config in written(DECODERS).items()}
    RECORDS.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
