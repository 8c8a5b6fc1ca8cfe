"""What a model file or folder says about itself, weights unread: a GGUF, an ONNX folder or a checkpoint."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error
from . import attention, model_card, onnx_header
from .attention import Attention
from .checkpoint import open_folder
from .gguf_header import GgufHeader, read_header
from .inspection import Contents, count, count_onnx
from .quantisation_config import Scheme, scheme_of

_LONG_ARRAY = 16  # elements; of a longer one only these are kept
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, kw_only=True)
class LongArray:
    """An array of the header too long to be shown: a vocabulary, mostly."""

    n_elements: int
    first: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model as its files describe it; strings are as they come, hostile ones included."""

    path: Path
    container: str  # "gguf" | "onnx" | "checkpoint"
    files: tuple[Path, ...]  # with weights, or a graph
    size_bytes: int
    name: str
    architecture: str
    header: Mapping[str, Any]  # what the file states, arrays longer than 16 as `LongArray`
    contents: Contents
    attention: Attention | None
    licence: Mapping[str, str]  # "license", "license.name", "license.link", as far as they are stated
    base_models: tuple[str, ...]
    chat_templates: Mapping[str, str]  # name -> template; the usual one is called "default"
    notes: tuple[str, ...] = ()


def describe(path: Path) -> Description:
    """Read the description of a GGUF (a split one by any part), an ONNX file or folder, or a checkpoint folder.

    Raises `Error` for anything else, and for files that are damaged or cut short in what is read.
    """
    if path.is_file() and path.suffix == ".onnx":
        return _describe_onnx(path)
    if path.is_file():
        return _describe_gguf(path)
    if not path.is_dir():
        raise Error(f"{path} does not exist", hint="name a GGUF file, an ONNX folder or a checkpoint folder")
    models = sorted(path.glob("*.gguf"))
    if models and not (path / "config.json").exists():
        if set(models) != set(_parts(models[0])):
            raise Error(f"{path} holds {len(models)} GGUF files", hint=f"name one of them, such as {models[0].name}")
        return _describe_gguf(models[0])
    graphs = sorted(path.glob("*.onnx"))
    if graphs and not any(path.glob("*.safetensors")):
        return _describe_onnx(path / "model.onnx" if path / "model.onnx" in graphs else graphs[0])
    return _describe_checkpoint(path)


def _describe_gguf(path: Path) -> Description:
    files = _parts(path)
    headers = [read_header(file) for file in files]
    metadata = headers[0].metadata
    tensors = [tensor for header in headers for tensor in header.tensors]
    notes = [f"split into {len(files)} files"] if len(files) > 1 else []
    return Description(
        path=path,
        container="gguf",
        files=tuple(files),
        size_bytes=sum(file.stat().st_size for file in files),
        name=str(metadata.get("general.name", path.stem)),
        architecture=str(metadata.get("general.architecture", "")),
        header={key: _shortened(value) for key, value in metadata.items()},
        contents=count((tensor.type, tensor.n_elements, tensor.n_bytes) for tensor in tensors),
        attention=attention.from_gguf(metadata),
        licence=_licence(metadata),
        base_models=_base_models(metadata),
        chat_templates=_gguf_templates(metadata),
        notes=(*notes, *_faults(path, headers, files)),
    )


def _parts(path: Path) -> list[Path]:
    """All files of a split model, in order (tools/gguf-split names them NAME-00001-of-00003.gguf)."""
    match = _PART.fullmatch(path.name)
    if not match:
        return [path]
    files = [path.with_name(f"{match[1]}-{n + 1:05}-of-{match[3]}.gguf") for n in range(int(match[3]))]
    for file in files:
        if not file.is_file():
            raise Error(f"{path} is part of a split model that lacks {file.name}", hint="download the missing part")
    return files or [path]


def _faults(path: Path, headers: Sequence[GgufHeader], files: Sequence[Path]) -> list[str]:
    """What the headers show to be missing."""
    for file, header in zip(files, headers, strict=True):
        if sum(tensor.n_bytes for tensor in header.tensors) > file.stat().st_size:
            return [f"{file.name} is cut short: its tensors take more bytes than it has"]
    n_found = sum(len(header.tensors) for header in headers)
    stated = headers[0].metadata.get("split.tensors.count")
    parts = headers[0].metadata.get("split.count", 1)
    if len(headers) == 1 and isinstance(parts, int) and parts > 1:
        return [f"this is one of {parts} parts, and its name {path.name} does not lead to the others"]
    if isinstance(stated, int) and stated not in (0, n_found):
        return [f"the header states {stated} tensors, the files hold {n_found}"]
    return []


def _describe_checkpoint(folder: Path) -> Description:
    opened = open_folder(folder, revision="not computed")  # which would read all weights
    card = model_card.entries(opened)
    scheme = scheme_of(opened.config)
    return Description(
        path=folder,
        container="checkpoint",
        files=tuple(sorted({tensor.file for tensor in opened.tensors.values()})),
        size_bytes=sum(file.stat().st_size for file in {tensor.file for tensor in opened.tensors.values()}),
        name=str(card["general.name"]),
        architecture=opened.architecture or str(opened.config.get("model_type", "")),
        header={key: _shortened(value) for key, value in opened.config.items()},
        contents=count((tensor.dtype, tensor.n_elements, tensor.n_bytes) for tensor in opened.tensors.values()),
        attention=attention.from_config(opened.config),
        licence=_licence(card),
        base_models=_base_models(card),
        chat_templates=_folder_templates(folder),
        notes=(_quantised(scheme),) if scheme else (),
    )


def _quantised(scheme: Scheme) -> str:
    """Weights that cannot be read are counted as the tensors that hold them."""
    if scheme.unreadable:
        return f"quantised with {scheme.unreadable}: its tensors hold packed weights, and are counted as they are"
    return f"quantised with {scheme.name}: weights are counted as they are unpacked"


def _describe_onnx(graph: Path) -> Description:
    folder, header = graph.parent, onnx_header.read_header(graph)
    config = _json(folder / "config.json")
    weights = sorted(file for file in folder.iterdir() if file.name.startswith(f"{graph.name}") and file.is_file())
    operators = {f"operator {name}": n for name, n in header.operators.most_common(_LONG_ARRAY)}
    architectures = config.get("architectures")
    return Description(
        path=graph,
        container="onnx",
        files=tuple(weights),
        size_bytes=sum(file.stat().st_size for file in weights),
        name=folder.resolve().name,
        architecture=str(architectures[0] if isinstance(architectures, list) and architectures else ""),
        header={**header.metadata, **operators},
        contents=count_onnx(header),
        attention=attention.from_config(config),
        licence={},
        base_models=(),
        chat_templates=_folder_templates(folder),
    )


def _shortened(value: Any) -> Any:
    long = isinstance(value, list) and len(value) > _LONG_ARRAY
    return LongArray(n_elements=len(value), first=tuple(value[:_LONG_ARRAY])) if long else value


def _licence(metadata: Mapping[str, Any]) -> dict[str, str]:
    keys = ("license", "license.name", "license.link")
    return {key: str(metadata[f"general.{key}"]) for key in keys if metadata.get(f"general.{key}")}


def _base_models(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Organisation and name of each, or its address where it has no name."""
    stated = metadata.get("general.base_model.count")
    found = []
    for number in range(min(stated, _LONG_ARRAY) if isinstance(stated, int) else 0):
        start = f"general.base_model.{number}."
        parts = [str(metadata[start + key]) for key in ("organization", "name") if metadata.get(start + key)]
        found.append("/".join(parts) or str(metadata.get(f"{start}repo_url", "")))
    return tuple(name for name in found if name)


def _gguf_templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    templates = {
        key.removeprefix(_TEMPLATE).removeprefix(".") or "default": value
        for key, value in metadata.items()
        if (key == _TEMPLATE or key.startswith(f"{_TEMPLATE}.")) and isinstance(value, str)
    }
    return dict(sorted(templates.items(), key=lambda item: item[0] != "default"))


def _folder_templates(folder: Path) -> dict[str, str]:
    """The templates that transformers would find: files before tokenizer_config.json, one or several named ones."""
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    named = found if isinstance(found, list) else [{"name": "default", "template": found}]
    templates = {str(row.get("name")): row.get("template") for row in named if isinstance(row, dict)}
    for file in sorted(folder.glob("additional_chat_templates/*.jinja")):
        templates[file.stem] = file.read_text(encoding="utf-8", errors="replace")
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8", errors="replace")
    return {name: text for name, text in templates.items() if isinstance(text, str)}


def _json(path: Path) -> dict[str, Any]:
    """A file beside the weights; what does not read says nothing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
