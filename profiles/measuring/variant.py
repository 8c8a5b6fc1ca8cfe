"""Variants of a measurement: what differs from the plain one, which the comparison of formats counts alone."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of running an artifact; what is left at its default is as in the plain measurement."""

    depth: int = 0  # tokens that the cache holds before the prompt
    sequences: int = 1  # users side by side
    batch: int | None = None  # tokens of a prompt computed at once
    threads: int | None = None
    prefill_threads: int | None = None
    cache_type: str = "f16"
    flash_attention: bool | None = None
    mmap: bool = True
    repack: bool = True
    limit_memory_bytes: int | None = None
    sustained_seconds: float = 0.0  # of decode without a break

    def to_json(self) -> dict[str, Any]:
        """What differs, as plain JSON values; empty for the plain measurement."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Variant":
        """The reverse of `to_json`; keys that a later version wrote are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def computes_differently(self) -> bool:
        """Whether it changes the answers, so that its divergence is a question."""
        return self.cache_type != "f16" or self.flash_attention is not None


PLAIN = Variant()


def combined(choices: Mapping[str, Sequence[Any]]) -> tuple[Variant, ...]:
    """Every combination of the values named for fields of `Variant`, the first field's varying slowest."""
    mixed = itertools.product(*choices.values())
    return tuple(dict.fromkeys(Variant(**dict(zip(choices, values, strict=True))) for values in mixed))


def described(differs: Mapping[str, Any]) -> str:
    """What differs, in words, from what a row stored of it; a key that a later version wrote is shown as it is."""
    return ", ".join(_WORDS[key](value) if key in _WORDS else f"{key} {value}" for key, value in differs.items())


def _on(value: Any) -> str:
    return "on" if value else "off"


_WORDS: Mapping[str, Any] = {
    "depth": lambda n: f"{n:,} tokens deep",
    "sequences": lambda n: f"{n} users",
    "batch": lambda n: f"batch {n}",
    "threads": lambda n: "1 thread" if n == 1 else f"{n} threads",
    "prefill_threads": lambda n: f"{n} for prefill",
    "cache_type": lambda name: f"{name} cache",
    "flash_attention": lambda value: f"flash attention {_on(value)}",
    "mmap": lambda value: f"mmap {_on(value)}",
    "repack": lambda value: f"repacking {_on(value)}",
    "limit_memory_bytes": lambda n: f"memory limited to {n / 1e6:,.0f} MB",
    "sustained_seconds": lambda seconds: f"{seconds:g} s without a break",
}
