"""A model file described for the terminal and for programs: what it holds, what it needs, whose it is."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..convert.description import Description, LongArray
from .numbers import share, size
from .stored import encode
from .terminal import printable

USUAL_CONTEXT = 4096  # tokens, where none is asked for and the model was trained for no less
_WIDTH, _TEMPLATE_LINES = 100, 6


def memory(found: Description, context: int | None) -> dict[str, Any]:
    """Predicted bytes at a context in tokens: weights, and the key/value cache where the geometry is known.

    `whole_cache_bytes` is for programs that keep every token in layers that look back a window only. Activations and
    the program itself come on top.
    """
    geometry = found.attention
    trained = geometry.trained_context if geometry else 0
    tokens = context or min(USUAL_CONTEXT, trained or USUAL_CONTEXT)
    cache = geometry.cache_bytes(tokens) if geometry else None
    return {
        "prediction": True,
        "context": tokens,
        "weights_bytes": found.contents.n_bytes,
        "cache_bytes": cache,
        "whole_cache_bytes": geometry.cache_bytes(tokens, whole=True) if geometry else None,
        "total_bytes": found.contents.n_bytes + (cache or 0),
    }


def to_json(found: Description, context: int | None) -> dict[str, Any]:
    """Everything, templates whole; of a longer array its length and its first elements."""
    values: dict[str, Any] = encode(found)
    values["contents"]["bits_per_weight"] = found.contents.bits_per_weight
    return values | {"memory": memory(found, context)}


def listing(found: Description, context: int | None) -> RenderableType:
    """The same for people: a line each, long texts cut, control characters made visible."""
    rows = [("file", str(found.path)), ("name", found.name), ("architecture", found.architecture or "not stated")]
    rows += [("size", _size(found)), ("weights", _weights(found)), ("tensor types", _types(found))]
    rows += [("memory", line) for line in _memory(found, context)]
    rows += [("licence", _licence(found)), ("base model", ", ".join(found.base_models) or "not stated")]
    rows += [("note", note) for note in found.notes]
    parts: list[RenderableType] = [_grid(rows), Text("\nheader"), Padding(_grid(_header(found)), (0, 0, 0, 2))]
    return Group(*parts, *_templates(found))


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    previous = ""
    for key, value in rows:
        grid.add_row(Text("" if key == previous else _cut(key)), Text(_cut(value)))
        previous = key
    return grid


def _cut(text: str, width: int = _WIDTH) -> str:
    text = printable(text[: width + 1].replace("\n", " "))
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _size(found: Description) -> str:
    files = f", {len(found.files)} files" if len(found.files) > 1 else ""
    kind = {"gguf": "GGUF", "onnx": "ONNX"}.get(found.container, found.container)
    return f"{size(found.size_bytes)} ({kind}{files})"


def _weights(found: Description) -> str:
    contents = found.contents
    if not contents.n_weights:
        return "none: a vocabulary alone"
    return f"{contents.n_weights:,} at {contents.bits_per_weight:.2f} bits a weight, scales included"


def _types(found: Description) -> str:
    parts = (
        (type_, share(part) if part >= 0.0005 else "< 0.1 %") for type_, part in found.contents.tensor_types.items()
    )
    return ", ".join(f"{type_} {part}" for type_, part in parts) or "none"


def _memory(found: Description, context: int | None) -> list[str]:
    told = memory(found, context)
    if not found.contents.n_weights:
        return []
    where = f"at {told['context']:,} tokens of context"
    if told["cache_bytes"] is None:
        return [f"{size(told['weights_bytes'])} of weights; the key/value cache is not known (a prediction)"]
    parts = f"{size(told['weights_bytes'])} of weights + {size(told['cache_bytes'])} of keys and values"
    lines = [f"{size(told['total_bytes'])} {where}: {parts} (a prediction)"]
    if told["whole_cache_bytes"] != told["cache_bytes"]:
        whole = size(told["whole_cache_bytes"])
        lines.append(f"{whole} of keys and values where a program keeps the whole context in layers with a window")
    trained = found.attention.trained_context if found.attention else 0
    if trained and told["context"] > trained:
        lines.append(f"more context than the {trained:,} tokens that the model was trained for")
    return lines


def _licence(found: Description) -> str:
    stated = [found.licence.get(key, "") for key in ("license", "license.name", "license.link")]
    return ", ".join(text for text in dict.fromkeys(stated) if text) or "not stated"


def _header(found: Description) -> list[tuple[str, str]]:
    return [
        (key, _value(value)) for key, value in found.header.items() if not key.startswith("tokenizer.chat_template")
    ]


def _value(value: Any) -> str:
    if isinstance(value, LongArray):
        kinds = "strings" if value.first and isinstance(value.first[0], str) else "numbers"
        return f"{value.n_elements:,} {kinds}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _templates(found: Description) -> list[RenderableType]:
    if not found.chat_templates:
        return [Text("\nchat template: none")]
    parts: list[RenderableType] = []
    for name, template in found.chat_templates.items():
        lines = template.splitlines()
        shown = [Text(_cut(line)) for line in lines[:_TEMPLATE_LINES]]
        left = [Text(f"... {len(lines) - _TEMPLATE_LINES:,} more lines")] if len(lines) > _TEMPLATE_LINES else []
        title = "chat template" if name == "default" else f"chat template {_cut(name, 30)}"
        parts += [Text(f"\n{title}, {len(template):,} characters"), Padding(Group(*shown, *left), (0, 0, 0, 2))]
    return parts
