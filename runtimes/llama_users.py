"""Several users of one model: a sequence each, all taken further in one batch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import Error
from .llama_batch import Entry

if TYPE_CHECKING:
    from .session import Logits


class Users:
    """How long the sequences are, and what is to be computed next.

    `compute` returns the logits [n, n_vocab] of those entries that want them.
    """

    def __init__(self, compute: "Callable[[Sequence[Entry]], Logits]", *, n: int, n_context: int) -> None:
        self._compute, self._n_context = compute, n_context
        self.lengths = [0] * n

    def extend(self, token_ids: Sequence[Sequence[int]]) -> "Logits":
        """See `Session.extend_each`."""
        if len(token_ids) != len(self.lengths):
            raise Error(f"tokens for {len(token_ids)} sequences, where the session has {len(self.lengths)}")
        longest = max(length + len(ids) for length, ids in zip(self.lengths, token_ids, strict=True))
        if longest > self._n_context:
            raise Error(f"{longest} tokens do not fit a context of {self._n_context}")
        entries = [
            (token, length + i, (user,), i == len(ids) - 1)
            for user, (length, ids) in enumerate(zip(self.lengths, token_ids, strict=True))
            for i, token in enumerate(ids)
        ]
        rows = self._compute(entries)
        self.lengths = [length + len(ids) for length, ids in zip(self.lengths, token_ids, strict=True)]
        return rows
