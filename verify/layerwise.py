"""A checkpoint's logits with one decoder layer in memory at a time, for models that do not fit it whole.

The model is built by transformers without weights (its parameters on torch's `meta` device, its buffers real). What
lies outside the decoder layers is loaded for good; a layer's weights are read when it is about to compute and dropped
afterwards. So the arithmetic is transformers' own, whatever the architecture.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .. import Error
from ..convert.checkpoint import Checkpoint
from .logits import libraries, save

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_BYTES = 4  # a weight in float32


def needed_bytes(checkpoint: Checkpoint) -> int:
    """Memory for the weights in this way: everything outside the layers, and the largest of them."""
    layers: dict[str, int] = {}
    outside = 0
    for name, tensor in checkpoint.tensors.items():
        match = _LAYER.search(name)
        if match:
            layers[match[1]] = layers.get(match[1], 0) + tensor.n_elements
        else:
            outside += tensor.n_elements
    return _BYTES * (outside + max(layers.values(), default=0))


def checkpoint_logits(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """As `logits.checkpoint_logits`, layer by layer; `job["files"]` says which file holds each tensor.

    `Error` where a parameter of transformers' model is no tensor of the checkpoint's: then this way is not open.
    """
    torch, transformers = libraries()
    torch.set_num_threads(job["threads"])
    config = transformers.AutoConfig.from_pretrained(job["folder"], local_files_only=True, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise Error("weights that are quantised already cannot be read layer by layer")
    with _parameters_on_meta(torch):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
        )
    model.eval()
    model.tie_weights()
    load = _Loader(model, job["files"], torch)
    layers = _layers(model, config)
    inside = {id(p) for layer in layers for p in layer.parameters()}
    load.everything(model, but=inside)
    for index, layer in enumerate(layers):
        _load_when_needed(layer, index, load, progress, n_layers=len(layers))
    save(model, job, torch)


@contextmanager
def _parameters_on_meta(torch: Any) -> Iterator[None]:
    """Let modules register parameters without memory; buffers, such as rotary frequencies, stay as computed."""
    register = torch.nn.Module.register_parameter

    def without_memory(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        register(module, name, parameter)

    torch.nn.Module.register_parameter = without_memory
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register


def _layers(model: Any, config: Any) -> list[Any]:
    """The decoder layers: the one list of modules that is as long as the configuration says."""
    import torch

    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    n_layers = text.num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise Error("this architecture has no list of decoder layers that could be loaded one by one")
    return list(lists[0])


class _Loader:
    """Reads parameters by their name in the model from the safetensors files."""

    def __init__(self, model: Any, files: Mapping[str, str], torch: Any) -> None:
        self._files, self._torch = files, torch
        self._names = {id(p): name for name, p in model.named_parameters(remove_duplicate=True)}
        self._prefix = model.base_model_prefix

    def everything(self, module: Any, *, but: set[int]) -> None:
        """Load what a module holds; a parameter that several hold is read once, under whichever name is stored."""
        loaded: dict[int, Any] = {}
        for owner, key, parameter in list(_owned(module)):
            if id(parameter) not in but:
                loaded.setdefault(id(parameter), None)
                if loaded[id(parameter)] is None:
                    loaded[id(parameter)] = self._read(parameter)
                owner._parameters[key] = loaded[id(parameter)]

    def _read(self, parameter: Any) -> Any:
        from safetensors import safe_open

        name = self._names[id(parameter)]
        short = name.removeprefix(f"{self._prefix}.")
        stored = next((n for n in (name, short, f"{self._prefix}.{name}") if n in self._files), None)
        if stored is None:
            raise Error(f"transformers' {name} is no tensor of the checkpoint: it cannot be read layer by layer")
        with safe_open(self._files[stored], framework="pt") as file:
            value = file.get_tensor(stored).to(self._torch.float32)
        if value.shape != parameter.shape:
            raise Error(f"{stored} has the shape {list(value.shape)}, transformers wants {list(parameter.shape)}")
        return self._torch.nn.Parameter(value, requires_grad=False)


def _owned(module: Any) -> Iterator[tuple[Any, str, Any]]:
    for owner in module.modules():
        for key, parameter in owner._parameters.items():
            if parameter is not None:
                yield owner, key, parameter


def _load_when_needed(layer: Any, index: int, load: _Loader, progress: Callable[[str], None], *, n_layers: int) -> None:
    empty = list(_owned(layer))

    def before(*_: Any) -> None:
        progress(f"transformers computes layer {index + 1} of {n_layers}")
        load.everything(layer, but=set())

    def after(*_: Any) -> None:
        for owner, key, parameter in empty:
            owner._parameters[key] = parameter

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)
