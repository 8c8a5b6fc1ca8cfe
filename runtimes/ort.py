"""ONNX Runtime over a decoder graph with past key/values: our fused one, or one that Optimum exported."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import Error
from .session import Grown, Prompt, Session, Settings, Tree, generate_in_turn, grow_in_turn

if TYPE_CHECKING:
    from .session import Logits

MODEL_FILE = "model.onnx"
#: metadata of a graph whose past and present may be one buffer (onnxruntime-genai's word)
SHARED_BUFFER = "past_present_share_buffer"
_PAST, _PRESENT = "past_key_values", "present"
_ERRORS_ONLY = 3
#: of a prefill: memory grows with every one of them (0.4 MB in SmolLM2-135M), speed does so up to about here
_TOKENS_AT_ONCE = 128


def version() -> str:
    """Version of onnxruntime."""
    return importlib.metadata.version("onnxruntime")


def open(path: str, settings: Settings) -> Session:
    """Load the graph `model.onnx` of an artifact's folder on the CPU provider."""
    return OrtSession(path, settings)


class OrtSession:
    """One inference session and its key/value cache."""

    def __init__(self, path: str, settings: Settings) -> None:
        import onnxruntime as ort

        file = Path(path) / MODEL_FILE
        try:
            self._session: Any = ort.InferenceSession(str(file), _options(settings), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a type of its own for each failure
            raise Error(f"onnxruntime cannot load {file}: {str(error).splitlines()[0]}") from None
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = {value.name: value for value in self._session.get_outputs()}
        past = {name: value for name, value in self._inputs.items() if name.startswith(_PAST)}
        if "logits" not in self._outputs or not past:
            raise Error(f"{file} is no decoder graph with past key/values")
        shares = self._session.get_modelmeta().custom_metadata_map.get(SHARED_BUFFER) == "true"
        sizes = {name: (int(value.shape[1]), int(value.shape[3])) for name, value in past.items()}
        self._cache: _SharedCache | _GrowingCache = (
            _SharedCache(sizes, settings.context) if shares else _GrowingCache(sizes)
        )
        self._binding: Any = self._session.io_binding()
        self._bound = [*self._cache.outputs, "logits"]
        self._n_context = settings.context
        self.n_vocab: int = int(self._outputs["logits"].shape[-1])
        self.tokens: list[int] = []

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> "Logits":
        """See `Session.evaluate`."""
        import numpy as np

        if len(self.tokens) + len(token_ids) > self._n_context:
            raise Error(f"{len(self.tokens) + len(token_ids)} tokens do not fit a context of {self._n_context}")
        parts = [token_ids[i : i + _TOKENS_AT_ONCE] for i in range(0, len(token_ids), _TOKENS_AT_ONCE)]
        if logits == "all":
            return np.concatenate([self._step(part, kept=0) for part in parts])
        for part in parts[:-1]:
            self._step(part, kept=1)
        return self._step(parts[-1], kept=1)[-1]

    def _step(self, token_ids: Sequence[int], *, kept: int) -> "Logits":
        """Append tokens; logits of all of them, or of the last `kept` where the graph can leave some out."""
        binding = self._binding
        for name, value in self._step_inputs(token_ids, len(self.tokens), kept).items():
            binding.bind_cpu_input(name, value)
        self._cache.bind(binding)
        binding.bind_output("logits", "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise Error(f"onnxruntime cannot run the graph: {str(error).splitlines()[0]}") from None
        results = dict(zip(self._bound, binding.get_outputs(), strict=True))
        self._cache.keep(results)
        self.tokens.extend(token_ids)
        rows: Logits = results["logits"].numpy()[0]
        return rows

    def _step_inputs(self, token_ids: Sequence[int], past: int, kept: int) -> dict[str, Any]:
        import numpy as np

        n = len(token_ids)
        values = {
            "input_ids": np.array([token_ids], dtype=np.int64),
            "attention_mask": np.ones((1, past + n), dtype=np.int64),
            "position_ids": np.arange(past, past + n, dtype=np.int64)[None],
            "logits_to_keep": np.array([kept], dtype=np.int64),
        }
        return {name: value for name, value in values.items() if name in self._inputs}

    def rewind(self, n_tokens: int) -> None:
        """See `Session.rewind`."""
        if n_tokens < len(self.tokens):
            self._cache.cut(n_tokens)
            del self.tokens[n_tokens:]

    def grow(self, trees: Sequence[Tree]) -> list[Grown]:
        """See `Session.grow`."""
        return grow_in_turn(self, trees)

    def generate(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Session.generate`."""
        return generate_in_turn(self, prompts)

    def close(self) -> None:
        """See `Session.close`."""
        self._cache.clear()
        del self._binding, self._session


def _options(settings: Settings) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return options


class _SharedCache:
    """One buffer [1, n_kv_heads, context, head_dim] for each key and value, which the graph reads and appends to.

    How much of it counts the graph learns from the attention mask, so that cutting it costs nothing.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], context: int) -> None:
        import numpy as np
        import onnxruntime as ort

        self.outputs = [name.replace(_PAST, _PRESENT) for name in sizes]
        self._is_bound = False
        self._buffers = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros((1, heads, context, width), np.float32))
            for name, (heads, width) in sizes.items()
        }

    def bind(self, binding: Any) -> None:
        """Bind every buffer as past and as present; once, for nothing about them changes."""
        if self._is_bound:
            return
        self._is_bound = True
        for name, buffer in self._buffers.items():
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace(_PAST, _PRESENT), buffer)

    def keep(self, results: Mapping[str, Any]) -> None:
        """Nothing: the graph wrote into the buffers."""

    def cut(self, n_tokens: int) -> None:
        """Nothing: what lies behind is written over."""

    def clear(self) -> None:
        """Free the buffers."""
        self._buffers.clear()


class _GrowingCache:
    """Keys and values [1, n_kv_heads, tokens, head_dim] of a graph that appends by concatenation (Optimum's).

    They are bound as the values that the last step returned, without a copy through numpy; only cutting copies.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._sizes = sizes
        self.outputs = [name.replace(_PAST, _PRESENT) for name in sizes]
        self._past: dict[str, Any] = {}
        self.cut(0)

    def bind(self, binding: Any) -> None:
        """Bind what the last step returned; the next makes values of its own."""
        for name in self._sizes:
            binding.bind_ortvalue_input(name, self._past[name])
            binding.bind_output(name.replace(_PAST, _PRESENT), "cpu")

    def keep(self, results: Mapping[str, Any]) -> None:
        """Take up what a step returned."""
        self._past = {name: results[name.replace(_PAST, _PRESENT)] for name in self._sizes}

    def cut(self, n_tokens: int) -> None:
        """Keep the first tokens."""
        import numpy as np
        import onnxruntime as ort

        for name, (heads, width) in self._sizes.items():
            kept = np.zeros((1, heads, 0, width), np.float32)
            if n_tokens:
                kept = np.ascontiguousarray(self._past[name].numpy()[:, :, :n_tokens])
            self._past[name] = ort.OrtValue.ortvalue_from_numpy(kept)

    def clear(self) -> None:
        """Free the values."""
        self._past.clear()
