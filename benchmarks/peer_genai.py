"""A worker for onnxruntime-genai, its own loop and its own key/value buffers; runs in that peer's environment."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

sys.path.append(str(Path(__file__).parent))  # behind all else: onnx.py here must not stand in for the package

from engine import serve


class GenaiEngine:
    """One model and one generator, which takes `context` tokens."""

    def __init__(self, job: dict[str, Any]) -> None:
        config = og.Config(job["path"])
        threads = {"intra_op_num_threads": job["settings"]["threads"]}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self._model = og.Model(config)
        self._context: int = job["settings"]["context"]
        self.reset()

    def reset(self) -> None:
        """See `Engine.reset`."""
        self._generator = None  # the buffers of the old one go before those of the new one come
        parameters = og.GeneratorParams(self._model)
        # as long as the context, so that no end of the text ends it
        parameters.set_search_options(max_length=self._context, min_length=self._context, do_sample=False)
        self._generator = og.Generator(self._model, parameters)

    def extend(self, ids: Sequence[int]) -> None:
        """See `Engine.extend`; the first token is chosen as well, which runs nothing."""
        self._n_prompt = len(ids)
        self._generator.append_tokens(np.asarray(ids, dtype=np.int32))
        if len(ids) < self._context:
            self._generator.generate_next_token()

    def follow(self, ids: Sequence[int]) -> None:
        """See `Engine.follow`; it feeds what it chose itself, which must be these tokens."""
        for _ in ids:
            self._generator.generate_next_token()
        fed = self._generator.get_sequence(0)[self._n_prompt : self._n_prompt + len(ids)]
        if fed.tolist() != list(ids):
            raise ValueError("it continued in another way than it did before")

    def continuation(self, ids: Sequence[int], n: int) -> list[int]:
        """The `n` tokens that follow greedily."""
        self.reset()
        self.extend(ids)
        for _ in range(n):
            self._generator.generate_next_token()
        return self._generator.get_sequence(0)[len(ids) : len(ids) + n].tolist()

    def logits(self, ids: Sequence[int]) -> Any:
        """See `Engine.logits`."""
        self.reset()
        self._generator.append_tokens(np.asarray(ids, dtype=np.int32))
        return self._generator.get_output("logits")[0]


if __name__ == "__main__":
    serve(GenaiEngine)
