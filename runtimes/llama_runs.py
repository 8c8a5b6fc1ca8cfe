"""Which trees or prompts llama.cpp computes together: runs of neighbours, and what each takes of cache and batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .session import Prompt, Tree, n_shared

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a run takes. `shared` is what all of it begins with, a token short of the shortest beginning."""

    shared: Sequence[int]
    n_beginnings: int
    n_sides: int  # sequences beside the session's own
    n_tokens: int  # of everything, each beginning whole

    @property
    def n_beyond(self) -> int:
        """Tokens beside the shared ones, which are computed once."""
        return self.n_tokens - self.n_beginnings * len(self.shared)

    def together(self, other: "Need") -> "Need":
        """What both take as one run."""
        return Need(
            shared=self.shared[: n_shared(self.shared, other.shared)],
            n_beginnings=self.n_beginnings + other.n_beginnings,
            n_sides=self.n_sides + other.n_sides,
            n_tokens=self.n_tokens + other.n_tokens,
        )


def of_tree(tree: Tree) -> Need:
    """A sequence for each branch that has tokens; one where none has."""
    return Need(
        shared=tree.stem[:-1],
        n_beginnings=1,
        n_sides=max(1, sum(map(bool, tree.branches))),
        n_tokens=len(tree.stem) + sum(map(len, tree.branches)),
    )


def of_prompt(prompt: Prompt) -> Need:
    """A sequence, the prompt and the longest answer."""
    n_tokens = len(prompt.token_ids) + prompt.max_tokens
    return Need(shared=prompt.token_ids[:-1], n_beginnings=1, n_sides=1, n_tokens=n_tokens)


def runs(
    items: Sequence[T], *, need: Callable[[T], Need], fits: Callable[[Need], bool]
) -> Iterator[tuple[list[T], Need]]:
    """Cut into runs that fit; an item that does not fit by itself is a run of its own."""
    run: list[T] = []
    taken = None
    for item in items:
        more = need(item)
        grown = taken.together(more) if taken else more
        if taken and not fits(grown):
            yield run, taken
            run, grown = [], more
        run.append(item)
        taken = grown
    if taken:
        yield run, taken
