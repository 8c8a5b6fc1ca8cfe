"""llama.cpp's batches: one that is made once for a session's own sequence, and one for entries of any sequences."""

import ctypes
from collections.abc import Sequence
from typing import Any, Literal

Entry = tuple[int, int, Sequence[int], bool]  # token, position, the sequences it belongs to, logits wanted
Wanted = Literal["all", "last", "none"]


class OwnBatch:
    """Consecutive tokens of sequence 0: all that is the same in every step stands there already.

    A step of one token has a struct of its own, of which a token and a position change: whatever Python does between
    two steps it does with cold caches, and 0.1 ms of it were 1 % of a step (SmolLM2-135M, Q8_0, 2 cores).
    """

    def __init__(self, lib: Any, *, n_tokens: int, n_positions: int) -> None:
        self._n_tokens = n_tokens
        self._tokens = (ctypes.c_int32 * n_tokens)()
        self._positions = (ctypes.c_int32 * (n_positions + n_tokens))(*range(n_positions + n_tokens))
        self._counts = (ctypes.c_int32 * n_tokens)(*[1] * n_tokens)
        self._sequence = (ctypes.c_int32 * 1)(0)
        pointer = ctypes.cast(self._sequence, ctypes.POINTER(ctypes.c_int32))
        self._sequences = (ctypes.POINTER(ctypes.c_int32) * n_tokens)(*[pointer] * n_tokens)
        self._marks = {wanted: (ctypes.c_int8 * n_tokens)() for wanted in ("all", "last", "none")}
        self._marks["all"][:] = [1] * n_tokens
        self._marks["last"][-1] = 1
        self._batch = lib.llama_batch()
        self._batch.token, self._batch.n_seq_id, self._batch.seq_id = self._tokens, self._counts, self._sequences
        self._step_position = (ctypes.c_int32 * 1)(0)
        self._step = lib.llama_batch(n_tokens=1, token=self._tokens, pos=self._step_position, n_seq_id=self._counts,
                                     seq_id=self._sequences, logits=self._marks["all"])  # fmt: skip

    def step(self, token_id: int, *, position: int) -> Any:
        """The struct for one token whose logits are wanted, valid until the next call."""
        self._tokens[0], self._step_position[0] = token_id, position
        return self._step

    def of(self, token_ids: Sequence[int], *, position: int, wanted: Wanted) -> Any:
        """The struct for `llama_decode`, valid until the next call; the first token stands at `position`."""
        n, batch, marks = len(token_ids), self._batch, self._marks[wanted]
        self._tokens[:n] = list(token_ids)
        batch.n_tokens = n
        batch.pos = _from(self._positions, position, ctypes.c_int32)
        batch.logits = _from(marks, self._n_tokens - n if wanted == "last" else 0, ctypes.c_int8)
        return batch


class EntryBatch:
    """Tokens of several sequences, each entry with its own; at most `n_tokens`, each in at most `n_sequences`."""

    def __init__(self, lib: Any, *, n_tokens: int, n_sequences: int) -> None:
        self._lib = lib
        self._batch = lib.llama_batch_init(n_tokens, 0, n_sequences)

    def of(self, entries: Sequence[Entry]) -> Any:
        """The struct for `llama_decode`, valid until the next call."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequences, wanted) in enumerate(entries):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = len(sequences)
            for j, sequence in enumerate(sequences):
                batch.seq_id[i][j] = sequence
            batch.logits[i] = wanted
        return batch

    def close(self) -> None:
        """Free it."""
        self._lib.llama_batch_free(self._batch)


def _from(array: Any, index: int, kind: Any) -> Any:
    """A pointer to the element at `index`."""
    return ctypes.cast(ctypes.addressof(array) + index * ctypes.sizeof(kind), ctypes.POINTER(kind))
