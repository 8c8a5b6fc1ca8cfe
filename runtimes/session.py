"""A session: tokens in, logits out, over llama.cpp or ONNX Runtime alike."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .. import Error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]


#: what llama.cpp can keep keys and values in; "f16" stands for the engine's own elsewhere (float32 in ONNX Runtime)
CACHE_TYPES = ("f16", "q8_0", "q4_0")


class Unsupported(Error):
    """What the engine does not have; another engine may."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an engine is to run; `context` in tokens."""

    threads: int
    context: int
    repack: bool = True  # llama.cpp's repacked and AMX kernels (`use_extra_bufts`)
    exact: bool = False  # float32 key/value cache and no flash attention, for comparing logits
    sequences: int = 1  # how many the cache may hold beside each other, where the engine batches them
    users: int = 1  # sequences with `context` tokens of cache each, for `Session.extend_each`
    mmap: bool = True  # map the file; else read it into memory of the process's own
    cache_type: str = "f16"  # of keys and values: one of CACHE_TYPES; what else an engine has is its own affair
    flash_attention: bool | None = None  # None: as the engine chooses
    prefill_threads: int | None = None  # where the engine has two pools; None: as many as `threads`
    batch: int | None = None  # tokens of a prompt that are computed at once; None: the engine's own choice

    def __post_init__(self) -> None:
        if self.cache_type not in CACHE_TYPES:
            raise Error(f"unknown cache type {self.cache_type!r}", hint=f"known: {', '.join(CACHE_TYPES)}")
        for name in ("threads", "context", "sequences", "users", "prefill_threads", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Error(f"{name.replace('_', ' ')} is {value}", hint="it is a count of one or more")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A beginning, and several ways to go on from it."""

    stem: Sequence[int]
    branches: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Grown:
    """Float32 logits: [n_vocab] after the stem, and for each branch [n, n_vocab] after its n tokens."""

    stem: "Logits"
    branches: "list[Logits]"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is to be continued greedily, until one of `end_ids`, `max_tokens`, or what `is_over` says of an answer."""

    token_ids: Sequence[int]
    max_tokens: int
    end_ids: Sequence[int]
    is_over: Callable[[Sequence[int]], bool] | None = None

    def goes_on(self, answer: list[int], token: int) -> bool:
        """Add the token to the answer, unless it ends it; whether another is to be computed."""
        if token in self.end_ids or len(answer) == self.max_tokens:
            return False
        answer.append(token)
        return len(answer) < self.max_tokens and not (self.is_over and self.is_over(answer))


class Session(Protocol):
    """One model with one sequence in its key/value cache; others grow from it and are forgotten again."""

    n_vocab: int
    tokens: list[int]  # the sequence that the cache holds

    def evaluate(self, token_ids: Sequence[int], *, logits: Literal["all", "last"]) -> "Logits":
        """Append tokens to the sequence.

        Returns float32 logits [n, n_vocab] for "all", [n_vocab] for "last"; they are valid until the next call.
        """
        ...

    def rewind(self, n_tokens: int) -> None:
        """Keep the first `n_tokens` of the sequence and forget the rest."""
        ...

    def grow(self, trees: "Sequence[Tree]") -> "Iterator[Grown]":
        """Compute several trees, in their order; each is valid until the next is asked for.

        Several may be computed at once, but no more than one batch's logits are held. What the cache holds is open.
        """
        ...

    def generate(self, prompts: "Sequence[Prompt]") -> list[list[int]]:
        """Greedy answers to several prompts, without the tokens that end them; what the cache holds then is open."""
        ...

    def extend_each(self, token_ids: "Sequence[Sequence[int]]") -> "Logits":
        """Append tokens, one or more, to each of the session's `Settings.users` sequences, in as few batches as go.

        Returns the logits [users, n_vocab] after the last of each. A session that is used so is used so alone.
        `Unsupported` where the engine computes one sequence at a time.
        """
        ...

    def rewind_each(self, n_tokens: int) -> None:
        """Keep the first `n_tokens` of each of them."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


#: container -> module here that offers `open(path, settings) -> Session` and `version() -> str`, and the runtime's name
RUNTIMES: Mapping[str, tuple[str, str]] = {"gguf": ("llama.cpp", "llamacpp"), "onnx": ("onnxruntime", "ort")}


def open_session(container: str, path: str, settings: Settings) -> Session:
    """Load an artifact into the runtime of its container. Native code: call it behind the fence of `child`."""
    session: Session = _module(container).open(path, settings)
    return session


def runtime_name(container: str) -> str:
    """The runtime that runs a container, as its users call it."""
    return _row(container)[0]


def runtime_version(container: str) -> str:
    """Version of the installed runtime; does not load it."""
    version: str = _module(container).version()
    return version


def extend_to(session: Session, token_ids: Sequence[int]) -> "Logits":
    """Make `token_ids` the session's sequence, computing only what differs from what it holds.

    Returns the logits [n_vocab] after the last token, which is always computed.
    """
    shared = n_shared(session.tokens, token_ids[:-1])
    session.rewind(shared)
    return session.evaluate(token_ids[shared:], logits="last")


def n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def grow_in_turn(session: Session, trees: Sequence[Tree]) -> Iterator[Grown]:
    """`Session.grow` for an engine that holds one sequence: one branch after another, what is shared kept."""
    for tree in trees:
        stem = extend_to(session, tree.stem).copy()
        branches = [stem[:0].reshape(0, session.n_vocab)] * len(tree.branches)
        for i, token_ids in enumerate(tree.branches):
            if token_ids:
                branches[i] = session.evaluate(token_ids, logits="all").copy()
                session.rewind(len(tree.stem))
        yield Grown(stem=stem, branches=branches)


def generate_in_turn(session: Session, prompts: Sequence[Prompt]) -> list[list[int]]:
    """`Session.generate` for an engine that holds one sequence; what neighbouring prompts share is computed once."""
    answers = []
    for prompt in prompts:
        logits, answer = extend_to(session, prompt.token_ids), list[int]()
        while prompt.goes_on(answer, token := int(logits.argmax())):
            logits = session.evaluate([token], logits="last")
        answers.append(answer)
    return answers


def _row(container: str) -> tuple[str, str]:
    try:
        return RUNTIMES[container]
    except KeyError:
        raise Error(f"no runtime runs {container!r}", hint=f"known containers: {', '.join(RUNTIMES)}") from None


def _module(container: str) -> Any:
    return importlib.import_module(f".{_row(container)[1]}", __package__)
