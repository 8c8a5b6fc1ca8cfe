"""Which of the formats within the limits comes first, for each preference."""

from collections.abc import Sequence

from .candidates import MATERIAL, Candidate

#: Below this mean divergence formats can count as equally good. Cross-entropy grows by about the divergence, so 0.01
#: nats are about 1 % of perplexity. Seen so by llama.cpp's own table for Llama 3 8B: Q5_K_M diverges by 0.0108 and has
#: 0.9 % more perplexity (tools/perplexity/README.md, WikiText-2).
EQUAL_NATS = 0.01
#: nor does it matter by how much two formats diverge where it is nearly the same: one step of llama.cpp's ladder of
#: formats multiplies it by 1.5 to 4 (same table)
EQUAL_SHARE = 1.1


def best(found: Sequence[Candidate], prefer: str) -> tuple[Candidate | None, tuple[Candidate, ...]]:
    """The winner, and those that count as equal in what is preferred, the best of them first.

    Quality: of what is as good as the least divergent, what decodes no slower than any of them, then the smallest.
    Speed: of what decodes about as fast as the fastest, the least divergent. Size: of what is about as small as the
    smallest, the least divergent.
    """
    if not found:
        return None, ()
    if prefer == "speed":
        ranked = sorted(found, key=lambda c: (-(c.decode.value or 0), c.nats, c.n_bytes))
        equals = [c for c in ranked if not ranked[0].decode.surely_above(c.decode)]
        return min(equals, key=lambda c: (c.nats, c.n_bytes)), tuple(equals)
    if prefer == "size":
        ranked = sorted(found, key=lambda c: (c.n_bytes, c.nats))
        equals = [c for c in ranked if c.n_bytes <= MATERIAL * ranked[0].n_bytes]
        return min(equals, key=lambda c: (c.nats, c.n_bytes)), tuple(equals)
    ranked = sorted(found, key=lambda c: (c.nats, c.n_bytes))
    equals = [c for c in ranked if c is ranked[0] or as_good(c, ranked[0])]
    return _smallest(not_slower(equals)), tuple(equals)


def as_good(other: Candidate, best: Candidate) -> bool:
    """Whether nobody would miss the difference: hardly more divergence, and accuracy that cannot be told apart.

    Where accuracy was not measured of both, the divergence alone says so.
    """
    near = other.nats <= max(EQUAL_NATS, EQUAL_SHARE * best.nats)
    return near and (other.name in best.row.ties or not comparable(other, best))


def comparable(one: Candidate, other: Candidate) -> bool:
    """Whether accuracy can say anything of two: both answered the items, or one is the reference of the other."""
    return all(c.is_compared or c.row.is_reference or c.row.ties for c in (one, other))


def not_slower(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that the fastest does not surely beat; an unmeasured speed counts as slower than any."""
    measured = [c for c in found if c.decode.value is not None]
    if not measured:
        return list(found)
    fastest = max(measured, key=lambda c: c.decode.value or 0)
    return [c for c in measured if not fastest.decode.surely_above(c.decode)]


def _smallest(found: Sequence[Candidate]) -> Candidate:
    least = min(c.n_bytes for c in found)
    return min((c for c in found if c.n_bytes <= MATERIAL * least), key=lambda c: (c.nats, c.n_bytes))


def comes_before(one: Candidate, other: Candidate, prefer: str) -> bool:
    """Whether a format is better in what is preferred, whatever the limits say."""
    if prefer == "speed":
        return (one.decode.value or 0) > (other.decode.value or 0)
    if prefer == "size":
        return 0 < one.n_bytes < other.n_bytes
    return one.nats < other.nats
