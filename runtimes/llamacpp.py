"""llama.cpp through llama-cpp-python's low-level functions: no sampler, no copies of logits that nobody asked for."""

import ctypes
import importlib.metadata
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from .. import Error
from ..convert.llama_library import last_log_line, library, load, logits_addresses
from .llama_batch import Entry, EntryBatch, OwnBatch, Wanted
from .llama_runs import Need, of_prompt, of_tree, runs
from .llama_users import Users
from .session import Grown, Prompt, Session, Settings, Tree, Unsupported, generate_in_turn, grow_in_turn, n_shared

if TYPE_CHECKING:
    from .session import Logits

BATCH = 512  # llama.cpp's own default for n_ubatch
_CALL_TOKENS = 32  # a call costs about what so many tokens more in a batch do (SmolLM2-135M, F16, 2 cores)
_F32 = 0
_CACHE_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # ggml.h, enum ggml_type


def version() -> str:
    """Version of llama-cpp-python, which pins its llama.cpp."""
    return importlib.metadata.version("llama-cpp-python")


def open(path: str, settings: Settings) -> Session:
    """Load a GGUF file with its own mapping of the file, on the CPU alone."""
    return LlamaCppSession(path, settings)


class LlamaCppSession:
    """One llama.cpp context: sequence 0 is the session's own, the others grow from it."""

    def __init__(self, path: str, settings: Settings) -> None:
        self._lib = library()
        self._n_batch = settings.batch or BATCH
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = settings.repack
        if not settings.mmap:
            params.load_mode = self._lib.LLAMA_LOAD_MODE_NONE
        self._model = load(path, params)
        self._context = self._lib.llama_init_from_model(self._model, self._context_params(settings))
        if not self._context:
            self._lib.llama_model_free(self._model)
            said = last_log_line()
            kind = Unsupported if "does not divide" in said else Error  # a block of the cache's type is 32 values
            raise kind(f"llama.cpp cannot make a context of {settings.context} tokens: {said}")
        self._own = OwnBatch(self._lib, n_tokens=self._n_batch, n_positions=settings.context)
        self._entries = EntryBatch(self._lib, n_tokens=self._n_batch, n_sequences=settings.sequences)
        self._n_context = settings.context
        self._n_side = settings.sequences - 1
        self._users = Users(self._logits_of, n=settings.users, n_context=settings.context)
        self._views: dict[tuple[int, int], Logits] = {}
        self._address_of_rows, self._address_of_row = logits_addresses(self._lib)
        self.n_vocab: int = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))
        self.tokens: list[int] = []

    def _context_params(self, settings: Settings) -> Any:
        params = self._lib.llama_context_default_params()
        side = self._n_batch if settings.sequences > 1 else 0  # room beside the session's own
        params.n_ctx = self._n_cells = settings.context * settings.users + side
        params.n_batch = params.n_ubatch = self._n_batch = min(self._n_batch, params.n_ctx)
        params.n_seq_max = max(settings.sequences, settings.users)
        params.kv_unified = settings.users == 1  # else each has cells of its own; shared ones make a copy cost nothing
        params.n_threads, params.n_threads_batch = settings.threads, settings.prefill_threads or settings.threads
        params.no_perf = True
        params.type_k = params.type_v = _cache_type(settings)
        if settings.flash_attention is not None:
            on, off = self._lib.LLAMA_FLASH_ATTN_TYPE_ENABLED, self._lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.flash_attn_type = on if settings.flash_attention else off
        if settings.exact:  # with flash attention on, the cache's type makes no difference
            params.flash_attn_type = self._lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> "Logits":
        """See `Session.evaluate`."""
        n = len(token_ids)
        if len(self.tokens) + n > self._n_context:
            raise Error(f"{len(self.tokens) + n} tokens do not fit a context of {self._n_context}")
        if n == 1:
            row: Logits = self._step(token_ids[0])[0 if logits == "last" else slice(None)]
            return row
        parts = [token_ids[i : i + self._n_batch] for i in range(0, n, self._n_batch)]
        if logits == "all":
            return self._append_all(parts)
        for part in parts[:-1]:
            self._append(part, "none")
        self._append(parts[-1], "last")
        last: Logits = self._view(self._address_of_row(self._context, -1), 1)[0]
        return last

    def _step(self, token_id: int) -> "Logits":
        """Append one token; its logits [1, n_vocab]."""
        self._compute(self._own.step(token_id, position=len(self.tokens)), 1)
        self.tokens.append(token_id)
        return self._view(self._address_of_row(self._context, -1), 1)

    def _append_all(self, parts: Sequence[Sequence[int]]) -> "Logits":
        import numpy as np

        found = []
        for part in parts:
            self._append(part, "all")
            rows = self._view(self._address_of_rows(self._context), len(part))
            found.append(rows if len(parts) == 1 else rows.copy())
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _append(self, token_ids: Sequence[int], wanted: Wanted) -> None:
        """Append one batch of tokens to sequence 0."""
        self._compute(self._own.of(token_ids, position=len(self.tokens), wanted=wanted), len(token_ids))
        self.tokens.extend(token_ids)

    def _submit(self, entries: Sequence[Entry]) -> None:
        """Compute one batch of entries, as many as fit one."""
        self._compute(self._entries.of(entries), len(entries))

    def _compute(self, batch: Any, n: int) -> None:
        code = self._lib.llama_decode(self._context, batch)
        if code != 0:
            raise Error(f"llama.cpp could not compute {n} tokens (code {code}): {last_log_line()}")

    def _view(self, address: int, rows: int) -> "Logits":
        place = address, rows
        if place not in self._views:  # llama.cpp writes to the same memory again and again
            self._views[place] = self._array(address, rows)
        return self._views[place]

    def _array(self, address: int, rows: int) -> "Logits":
        import numpy as np

        floats = (ctypes.c_float * (rows * self.n_vocab)).from_address(address)
        return np.ctypeslib.as_array(floats).reshape(rows, self.n_vocab)

    def rewind(self, n_tokens: int) -> None:
        """See `Session.rewind`."""
        if n_tokens >= len(self.tokens):
            return
        memory, kept = self._lib.llama_get_memory(self._context), self.tokens[:n_tokens]
        if self._lib.llama_memory_seq_rm(memory, 0, n_tokens, -1):
            self.tokens = kept
            return
        self._lib.llama_memory_seq_rm(memory, 0, -1, -1)  # a recurrent state has no way back but from the start
        self.tokens = []
        if kept:
            self.evaluate(kept, logits="last")

    def extend_each(self, token_ids: Sequence[Sequence[int]]) -> "Logits":
        """See `Session.extend_each`."""
        return self._users.extend(token_ids)

    def rewind_each(self, n_tokens: int) -> None:
        """See `Session.rewind_each`."""
        memory = self._lib.llama_get_memory(self._context)
        for user, length in enumerate(self._users.lengths):
            if n_tokens < length and not self._lib.llama_memory_seq_rm(memory, user, n_tokens, -1):
                raise Error("this model's state cannot be taken back to an earlier token")
        self._users.lengths = [min(n_tokens, length) for length in self._users.lengths]

    def _logits_of(self, entries: Sequence[Entry]) -> "Logits":
        """Logits [n, n_vocab] of the entries that want them, computed in as many batches as it takes."""
        import numpy as np

        if len(entries) <= self._n_batch:
            return self._logits_of_batch(entries)
        parts = (entries[i : i + self._n_batch] for i in range(0, len(entries), self._n_batch))
        return np.concatenate([self._logits_of_batch(part).copy() for part in parts])

    def _logits_of_batch(self, entries: Sequence[Entry]) -> "Logits":
        import numpy as np

        self._submit(entries)
        wanted = sum(entry[3] for entry in entries)
        if not wanted:
            return np.empty((0, self.n_vocab), np.float32)
        return self._view(self._address_of_rows(self._context), wanted)

    def grow(self, trees: Sequence[Tree]) -> Iterator[Grown]:
        """See `Session.grow`: as many trees at a time as sequences and one batch hold."""
        for run, need in runs(trees, need=of_tree, fits=self._fits_batch):
            yield from self._grow_together(run, need) if self._fits_batch(need) else grow_in_turn(self, run)

    def _fits_batch(self, need: Need) -> bool:
        return need.n_sides <= self._n_side and need.n_beyond <= self._n_batch

    def _grow_together(self, trees: Sequence[Tree], need: Need) -> Iterator[Grown]:
        shared = self._hold_shared([tree.stem for tree in trees], room=self._n_batch - need.n_beyond)
        entries: list[Entry] = []
        with self._side_sequences(need.n_sides) as sides:
            free = iter(sides)
            for tree in trees:
                own = list(itertools.islice(free, of_tree(tree).n_sides))
                last = len(tree.stem) - 1
                entries += [(tree.stem[p], p, own, p == last) for p in range(shared, len(tree.stem))]
                for side, ids in zip(own, filter(None, tree.branches), strict=False):
                    entries += [(token, len(tree.stem) + i, (side,), True) for i, token in enumerate(ids)]
            rows = self._logits_of(entries)
        start = 0
        for tree in trees:
            ends = list(itertools.accumulate(map(len, tree.branches), initial=start + 1))
            yield Grown(stem=rows[start], branches=[rows[a:b] for a, b in itertools.pairwise(ends)])
            start = ends[-1]

    def _hold_shared(self, beginnings: Sequence[Sequence[int]], *, room: int) -> int:
        """Make sequence 0 what all beginnings share, a token short of the shortest; returns its length.

        A few tokens that it lacks are left to be computed with the rest, if `room` for so many is left there.
        """
        first = beginnings[0]
        shared = min(n_shared(first, beginning[:-1]) for beginning in beginnings)
        self.rewind(n_shared(self.tokens, first[:shared]))
        lacking = first[len(self.tokens) : shared]
        if len(lacking) * len(beginnings) > min(room, _CALL_TOKENS):
            self.evaluate(lacking, logits="last")
        return len(self.tokens)

    def generate(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Session.generate`: as many prompts at a time as sequences and the cache hold."""
        answers: list[list[int]] = []
        for run, need in runs(prompts, need=of_prompt, fits=self._fits_cache):
            fits = self._fits_cache(need)
            answers += self._generate_together(run, need) if fits else generate_in_turn(self, run)
        return answers

    def _fits_cache(self, need: Need) -> bool:
        return need.n_sides <= self._n_side and len(need.shared) + need.n_beyond <= self._n_cells

    def _generate_together(self, prompts: Sequence[Prompt], need: Need) -> list[list[int]]:
        room = self._n_cells - len(need.shared) - need.n_beyond
        shared = self._hold_shared([prompt.token_ids for prompt in prompts], room=room)
        answers: list[list[int]] = [[] for _ in prompts]
        with self._side_sequences(len(prompts)) as sides:
            entries: list[Entry] = []
            for side, ids in zip(sides, (prompt.token_ids for prompt in prompts), strict=True):
                entries += [(ids[p], p, (side,), p == len(ids) - 1) for p in range(shared, len(ids))]
            active = list(range(len(prompts)))
            while entries:
                rows = self._logits_of(entries)
                following = dict(zip(active, (int(row.argmax()) for row in rows), strict=True))
                active = [i for i, token in following.items() if prompts[i].goes_on(answers[i], token)]
                entries = []
                for i in active:
                    entries.append((following[i], len(prompts[i].token_ids) + len(answers[i]) - 1, (sides[i],), True))
        return answers

    @contextmanager
    def _side_sequences(self, n: int) -> Iterator[Sequence[int]]:
        """Sequences 1 to n, each holding what sequence 0 holds; forgotten at the end."""
        memory = self._lib.llama_get_memory(self._context)
        sides = range(1, n + 1)
        for side in sides:
            self._lib.llama_memory_seq_cp(memory, 0, side, -1, -1)
        try:
            yield sides
        finally:
            for side in sides:
                self._lib.llama_memory_seq_rm(memory, side, -1, -1)

    def close(self) -> None:
        """See `Session.close`."""
        self._entries.close()
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)


def _cache_type(settings: Settings) -> int:
    """The number of the cache's type; `Error` for a combination that llama.cpp does not have."""
    if settings.exact:
        return _F32
    if settings.cache_type != "f16" and settings.flash_attention is False:
        raise Error(
            f"llama.cpp keeps a {settings.cache_type} cache with flash attention only",
            hint="leave flash attention on, or take an f16 cache",
        )
    return _CACHE_TYPES[settings.cache_type]
