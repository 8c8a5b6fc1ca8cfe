"""Small random models as transformers saves them, and the logits that it computes: JSON in on stdin.

A process of its own for all of them: importing torch takes seconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_ADDS_ONE = ("GemmaFor", "Gemma2For", "Gemma3For", "Qwen3_5For")


def main() -> None:
    """Make every model of the job: name -> {"class", "config"}; beside each folder its logits in NAME.npy."""
    import numpy as np
    import torch
    import transformers

    job = json.load(sys.stdin)
    if "defaults" in job:
        classes = {name: getattr(transformers, name).config_class for name in job["defaults"]}
        sys.stdout.write(json.dumps({name: config().to_dict() for name, config in classes.items()}, default=str))
        return
    if "configs" in job:
        rows = [(name, getattr(transformers, row["class"]), row["config"]) for name, row in job["configs"].items()]
        made = {
            name: model_class.config_class(**_in_its_words(config)).to_diff_dict() for name, model_class, config in rows
        }
        sys.stdout.write(json.dumps(made))
        return
    if "renamed" in job:
        for source, target, kind in job["renamed"]:
            model = getattr(transformers, kind).from_pretrained(source, dtype=torch.float32)
            model.save_pretrained(target, save_original_format=False)
        return
    torch.set_num_threads(1)
    for name, row in job["models"].items():
        torch.manual_seed(job["seed"])
        model_class = getattr(transformers, row["class"])
        config = model_class.config_class(**_in_its_words(row["config"]), attn_implementation="eager")
        model = _without_initialisation(model_class, config).eval()
        for parameter_name, parameter in model.named_parameters():
            _fill(parameter, centre=_centre(parameter_name, row["class"]))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("layer_scalar"):
                _fill(buffer, centre=1.0)
        folder = Path(job["folder"]) / name
        model.save_pretrained(folder)
        with torch.inference_mode():
            logits = model(torch.tensor([job["tokens"]])).logits[0]
        np.save(folder.with_suffix(".npy"), logits.numpy())


def _in_its_words(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 takes the older keys, but "no scaling" for nothing said."""
    import transformers

    if "rope_scaling" not in config or config["rope_scaling"] or transformers.__version__ < "5":
        return config
    kept = {key: value for key, value in config.items() if key not in ("rope_scaling", "rope_theta")}
    return kept | {"rope_parameters": {"rope_type": "default", "rope_theta": config["rope_theta"]}}


def _without_initialisation(model_class: Any, config: Any) -> Any:
    """The model with weights as they come: every one is drawn anew, and StableLM's own initialisation fails on some."""
    try:
        from transformers.initialization import no_init_weights  # transformers 5
    except ImportError:
        from transformers.modeling_utils import no_init_weights

    with no_init_weights():
        model = model_class(config)
    model.tie_weights()
    return model


def _centre(name: str, model_class: str) -> float:
    """Norms multiply by their weight, those of some families by 1 + weight."""
    if "norm" not in name and "ln_" not in name:
        return 0.0
    return 0.0 if model_class.startswith(_ADDS_ONE) and "linear_attn" not in name else 1.0


def _fill(parameter: Any, *, centre: float) -> None:
    """Norms unlike 1, biases unlike 0, matrices with a spread that lets attention choose."""
    import torch

    with torch.no_grad():
        parameter.normal_(mean=centre, std=0.2)


if __name__ == "__main__":
    main()
