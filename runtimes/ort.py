"""ONNX Runtime over a decoder graph with past key/values: our fused one, or one that Optimum exported."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import Error
from ..convert.fused.graph import CONTEXT, KEPT, MODEL_FILE, SHARED_BUFFER
from .session import Grown, Prompt, Session, Settings, Tree, Unsupported, generate_in_turn, grow_in_turn

if TYPE_CHECKING:
    from .session import Logits

PAST, _PRESENT = "past_key_values", "present"
_ERRORS_ONLY = 3
_FOLDER_OF_DATA = "session.model_external_initializers_file_folder_path"  # onnxruntime_session_options_config_keys.h
#: of a prefill: memory grows with every one of them (0.4 MB in SmolLM2-135M), speed does so up to about here
_TOKENS_AT_ONCE = 128

_ONE_SEQUENCE = "the graph computes one sequence at a time: several users wait for each other"


def version() -> str:
    """Version of onnxruntime."""
    return importlib.metadata.version("onnxruntime")


def open(path: str, settings: Settings) -> Session:
    """Load the graph `model.onnx` of an artifact's folder on the CPU provider."""
    return OrtSession(path, settings)


class OrtSession:
    """One inference session and its key/value cache."""

    def __init__(self, path: str, settings: Settings) -> None:
        _refuse(settings)
        file = Path(path) / MODEL_FILE
        self._n_batch = settings.batch or _TOKENS_AT_ONCE
        self._session = load(file, settings)
        stated = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        self._inputs = {value.name: value for value in stated}
        self._outputs = {value.name: value for value in self._session.get_outputs()}
        past = {name: value for name, value in self._inputs.items() if name.startswith(PAST)}
        if "logits" not in self._outputs or not past:
            raise Error(f"{file} is no decoder graph with past key/values")
        shares = self._session.get_modelmeta().custom_metadata_map.get(SHARED_BUFFER) == "true"
        sizes = {name: (int(value.shape[1]), int(value.shape[3])) for name, value in past.items()}
        self._n_context = settings.context
        self.n_vocab: int = int(self._outputs["logits"].shape[-1])
        self._cache: _SharedCache | _GrowingCache = (
            _SharedCache(self._session, sizes, (settings.context, self.n_vocab))
            if shares
            else _GrowingCache(self._session, sizes)
        )
        self.tokens: list[int] = []

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> "Logits":
        """See `Session.evaluate`."""
        import numpy as np

        if len(self.tokens) + len(token_ids) > self._n_context:
            raise Error(f"{len(self.tokens) + len(token_ids)} tokens do not fit a context of {self._n_context}")
        parts = [token_ids[i : i + self._n_batch] for i in range(0, len(token_ids), self._n_batch)]
        if logits == "all":
            return np.concatenate([self._step(part, kept=len(part)) for part in parts])
        for part in parts[:-1]:
            self._step(part, kept=1)
        last: Logits = self._step(parts[-1], kept=1)[-1]
        return last

    def _step(self, token_ids: Sequence[int], *, kept: int) -> "Logits":
        """Append tokens; logits of the last `kept` at least, for not every graph can leave some out."""
        try:
            rows = self._cache.run(self._step_inputs(token_ids, len(self.tokens), kept), kept)
        except Exception as error:  # onnxruntime raises a type of its own for each failure
            raise Error(f"onnxruntime cannot run the graph: {str(error).splitlines()[0]}") from None
        self.tokens.extend(token_ids)
        return rows

    def _step_inputs(self, token_ids: Sequence[int], past: int, kept: int) -> dict[str, Any]:
        import numpy as np

        n = len(token_ids)
        values = {
            "input_ids": np.array([token_ids], dtype=np.int64),
            "attention_mask": np.ones((1, past + n), dtype=np.int64),
            "position_ids": np.arange(past, past + n, dtype=np.int64)[None],
            KEPT: np.array([kept], dtype=np.int64),
            CONTEXT: np.array([self._n_context], dtype=np.int64),
        }
        return {name: value for name, value in values.items() if name in self._inputs}

    def rewind(self, n_tokens: int) -> None:
        """See `Session.rewind`."""
        if n_tokens < len(self.tokens):
            self._cache.cut(n_tokens)
            del self.tokens[n_tokens:]

    def grow(self, trees: Sequence[Tree]) -> Iterator[Grown]:
        """See `Session.grow`."""
        return grow_in_turn(self, trees)

    def generate(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Session.generate`."""
        return generate_in_turn(self, prompts)

    def extend_each(self, token_ids: Sequence[Sequence[int]]) -> "Logits":
        """See `Session.extend_each`."""
        raise Unsupported(_ONE_SEQUENCE)

    def rewind_each(self, n_tokens: int) -> None:
        """See `Session.rewind_each`."""
        raise Unsupported(_ONE_SEQUENCE)

    def close(self) -> None:
        """See `Session.close`."""
        del self._cache, self._session


def _refuse(settings: Settings) -> None:
    """`Unsupported` for what ONNX Runtime has no choice of."""
    lacking = {
        _ONE_SEQUENCE: settings.users > 1,
        "ONNX Runtime has no switch for how it reads the weights' file": not settings.mmap,
        f"the graph keeps keys and values in float32, not in {settings.cache_type}": settings.cache_type != "f16",
        "the graph's attention is one operator: flash attention is no choice": settings.flash_attention is not None,
        "ONNX Runtime has one pool of threads for prefill and decode": settings.prefill_threads
        not in (None, settings.threads),
    }
    for reason, asked in lacking.items():
        if asked:
            raise Unsupported(reason, hint="leave the option out for ONNX formats: --formats names others")


def load(file: Path, settings: Settings, *, model: bytes = b"") -> Any:
    """An inference session of a graph on the CPU provider, or of `model`, another graph over the data beside `file`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if model:
        options.add_session_config_entry(_FOLDER_OF_DATA, str(file.parent))
    try:
        return ort.InferenceSession(model or str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for each failure
        raise Error(f"onnxruntime cannot load {file}: {str(error).splitlines()[0]}") from None


class _SharedCache:
    """One buffer [1, n_kv_heads, context, head_dim] for each key and value, which the graph reads and appends to.

    How much of it counts the graph learns from the attention mask, so that cutting it costs nothing. Runs on plain
    vectors of values: a binding takes no input that has a default, as `logits_to_keep` has.
    """

    def __init__(self, session: Any, sizes: Mapping[str, tuple[int, int]], shape: tuple[int, int]) -> None:
        import numpy as np
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as native

        context, self._n_vocab = shape
        self._session = session
        self._buffers = [
            ort.OrtValue.ortvalue_from_numpy(np.zeros((1, heads, context, width), np.float32))
            for heads, width in sizes.values()
        ]
        self._past = list(sizes)
        self._results = [*(name.replace(PAST, _PRESENT) for name in sizes), "logits"]
        here = native.OrtDevice(native.OrtDevice.cpu(), native.OrtDevice.default_memory(), 0)
        self._devices = [here] * len(self._results)
        self._run_options = ort.RunOptions()
        self._one_row = self._fetches(1)

    def run(self, inputs: Mapping[str, Any], kept: int) -> "Logits":
        """Logits [kept, n_vocab], one row the same memory each time; keys and values are written to the buffers."""
        import onnxruntime as ort

        logits, fetches = self._one_row[:2] if kept == 1 else self._fetches(kept)[:2]
        given = [ort.OrtValue.ortvalue_from_numpy(value) for value in inputs.values()]  # over numpy's own memory
        names, feeds = [*inputs, *self._past], _vector([*given, *self._buffers])
        self._session.run_with_ortvaluevector(self._run_options, names, feeds, self._results, fetches, self._devices)
        rows: Logits = logits[0]
        return rows

    def _fetches(self, kept: int) -> tuple[Any, Any, Any]:
        """Room for logits [1, kept, n_vocab], the values that a run is to write to, and what holds that room."""
        import numpy as np
        import onnxruntime as ort

        logits = np.empty((1, kept, self._n_vocab), np.float32)
        held = ort.OrtValue.ortvalue_from_numpy(logits)
        return logits, _vector([*self._buffers, held]), held

    def cut(self, n_tokens: int) -> None:
        """Nothing: what lies behind is written over."""


def _vector(values: Sequence[Any]) -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    vector = native.OrtValueVector()
    vector.reserve(len(values))
    for value in values:
        vector.push_back(value._ortvalue)
    return vector


class _GrowingCache:
    """Keys and values [1, n_kv_heads, tokens, head_dim] of a graph that appends by concatenation (Optimum's).

    They are bound as the values that the last step returned, without a copy through numpy; only cutting copies.
    """

    def __init__(self, session: Any, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._session, self._sizes = session, sizes
        self._past: dict[str, Any] = {}
        self.cut(0)

    def run(self, inputs: Mapping[str, Any], kept: int) -> "Logits":
        """Logits [n, n_vocab] of all tokens; keys and values are those that the graph returns."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for name in self._sizes:
            binding.bind_ortvalue_input(name, self._past[name])
            binding.bind_output(name.replace(PAST, _PRESENT), "cpu")
        binding.bind_output("logits", "cpu")
        self._session.run_with_iobinding(binding)
        *present, logits = binding.get_outputs()
        self._past = dict(zip(self._sizes, present, strict=True))
        rows: Logits = logits.numpy()[0]
        return rows

    def cut(self, n_tokens: int) -> None:
        """Keep the first tokens."""
        import numpy as np
        import onnxruntime as ort

        for name, (heads, width) in self._sizes.items():
            kept = np.zeros((1, heads, 0, width), np.float32)
            if n_tokens:
                kept = np.ascontiguousarray(self._past[name].numpy()[:, :, :n_tokens])
            self._past[name] = ort.OrtValue.ortvalue_from_numpy(kept)
