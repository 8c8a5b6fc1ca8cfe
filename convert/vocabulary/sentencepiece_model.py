"""A SentencePiece model file: pieces with exact scores and types, read without the sentencepiece package.

Layout: sentencepiece_model.proto of google/sentencepiece, in protobuf's wire format.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
MODEL_TYPES = {1: "Unigram", 2: "BPE", 3: "Word", 4: "Char"}


@dataclass(frozen=True, kw_only=True)
class SentencePieceModel:
    """Pieces as (text, score, type), types as llama.cpp numbers them, and how text is normalised."""

    kind: str
    pieces: tuple[tuple[str, float, int], ...]
    unknown: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def read(path: Path) -> SentencePieceModel:
    """Read the file; `Error` where it is none."""
    try:
        fields = list(_fields(path.read_bytes()))
        pieces = tuple(_piece(value) for number, value in fields if number == 1)
        trainer = dict(_fields(next((value for number, value in fields if number == 2), b"")))
        normalizer = dict(_fields(next((value for number, value in fields if number == 3), b"")))
    except (AttributeError, IndexError, KeyError, struct.error, TypeError, ValueError):
        raise Error(f"{path} is no SentencePiece model", hint="download it again") from None
    if not pieces:
        raise Error(f"{path} is a SentencePiece model without pieces", hint="download it again")
    return SentencePieceModel(
        kind=MODEL_TYPES.get(trainer.get(3, 1), "unknown"),
        pieces=pieces,
        unknown=trainer.get(40, 0),
        charsmap=normalizer.get(2, b""),
        add_dummy_prefix=bool(normalizer.get(3, True)),
        remove_extra_whitespaces=bool(normalizer.get(4, True)),
    )


def _piece(data: bytes) -> tuple[str, float, int]:
    fields = dict(_fields(data))
    return fields[1].decode("utf-8"), struct.unpack("<f", fields.get(2, bytes(4)))[0], fields.get(3, 1)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an integer, or bytes as they stand."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _varint(data, at) if wire == _BYTES else ({_FIXED64: 8, _FIXED32: 4}.get(wire, -1), at)
        if size < 0 or at + size > len(data):
            raise ValueError
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
