"""What transformers gives to the products of each layer, seen by hooks: JSON in on stdin, one .npz a model out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

#: names of the fused graph -> modules of a layer that get that input
_MODULES = {
    "attn_qkv": ("self_attn.q_proj", "self_attn.qkv_proj"),
    "attn_output": ("self_attn.o_proj",),
    "ffn_gate_up": ("mlp.gate_proj", "mlp.gate_up_proj"),
    "ffn_down": ("mlp.down_proj",),
}


def main() -> None:
    """For every folder of the job, inputs [windows x tokens, columns] of each product, in FOLDER.npz."""
    import numpy as np
    import torch
    import transformers

    job = json.load(sys.stdin)
    torch.set_num_threads(1)
    for folder in job["folders"]:
        seen: dict[str, list[Any]] = {}
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        text = getattr(model.model, "language_model", model.model)
        for number, layer in enumerate(text.layers):
            named = dict(layer.named_modules())
            for product, modules in _MODULES.items():
                module = next(named[name] for name in modules if name in named)
                module.register_forward_pre_hook(_keeper(seen, f"blk.{number}.{product}.weight"))
        with torch.inference_mode():
            for window in job["windows"]:
                model(torch.tensor([window]), use_cache=False)
        np.savez(Path(folder).with_suffix(".npz"), **{name: np.concatenate(rows) for name, rows in seen.items()})


def _keeper(seen: dict[str, list[Any]], name: str) -> Any:
    return lambda module, inputs: seen.setdefault(name, []).append(inputs[0][0].numpy())


if __name__ == "__main__":
    main()
