"""What a GGUF file says about itself to people, from the checkpoint's model card and licence file.

Keys: ggml's docs/gguf.md, "General metadata". Cards are written by hand, so what is odd in one is left out; nothing in
a card stops a conversion.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import __version__
from .checkpoint import Checkpoint
from .front_matter import read_front_matter, texts
from .licence import licence

Entry = str | int | Sequence[str]

_HUB = "https://huggingface.co/"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SIZE = re.compile(r"(?:\d+x)?(\d+(?:\.\d+)?)([KMBT])", re.IGNORECASE)
_VERSION = re.compile(r"v\d+(?:\.\d+)*", re.IGNORECASE)
_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def entries(checkpoint: Checkpoint) -> Mapping[str, Entry]:
    """GGUF key -> value: a string, a list of strings, or an integer (uint32). Only what is known has a key.

    Sources: the front matter of README.md, the LICENSE file, the Hub's id of the model, its name and its size.
    """
    card = read_front_matter(checkpoint.path / "README.md")
    hub_id = checkpoint.source if _is_on_hub(checkpoint) else ""
    name = _first(card, "model_name", "name", "title") or checkpoint.name
    found: dict[str, Entry] = {
        "general.type": "model",
        "general.name": name,
        "general.author": _first(card, "author", "model_author", "model_creator"),
        "general.organization": _first(card, "organization") or hub_id.rpartition("/")[0],
        **_parts_of_name(hub_id.rpartition("/")[2] or checkpoint.name, checkpoint.n_parameters),
        "general.description": _first(card, "description", "summary"),
        "general.quantized_by": f"edgequant {__version__}",
        **{f"general.{key}": value for key, value in licence(card, checkpoint.path, _blob(checkpoint, hub_id)).items()},
        "general.tags": _unique([*texts(card.get("tags")), *texts(card.get("pipeline_tag"))]),
        "general.languages": _unique([*texts(card.get("language")), *texts(card.get("languages"))]),
        **_source(hub_id, checkpoint.revision),
        **_base_models(card),
    }
    return {key: value for key, value in found.items() if value not in ("", [])}


def _first(card: Mapping[str, Any], *keys: str) -> str:
    return next((found[0] for key in keys if (found := texts(card.get(key)))), "")


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _is_on_hub(checkpoint: Checkpoint) -> bool:
    """Whether the source is a Hub id and not a path that looks like one: only the Hub gives a commit."""
    return bool(_HUB_ID.fullmatch(checkpoint.source) and _COMMIT.fullmatch(checkpoint.revision))


def _source(hub_id: str, revision: str) -> dict[str, Entry]:
    """Where the weights came from; a local path says nothing to others and stays out of the file."""
    if not hub_id:
        return {}
    repository = _HUB + hub_id
    return {
        "general.repo_url": repository,
        "general.source.repo_url": repository,
        "general.source.url": f"{repository}/tree/{revision}",
    }


def _blob(checkpoint: Checkpoint, hub_id: str) -> str:
    """Address of the checkpoint's own files, "" where they have none."""
    return f"{_HUB}{hub_id}/blob/{checkpoint.revision}/" if hub_id else ""


def _parts_of_name(name: str, n_parameters: int) -> dict[str, Entry]:
    """Base name, size label, fine-tune and version of a name such as Mistral-7B-Instruct-v0.3.

    Naming convention: ggml's docs/gguf.md. A size in the name counts where the weights agree with it within a half.
    """
    words = [word for word in name.split("-") if word]
    sizes = [i for i, word in enumerate(words) if _SIZE.fullmatch(word)]
    versions = [i for i, word in enumerate(words) if _VERSION.fullmatch(word)]
    end = min([*sizes, *versions], default=len(words))
    tuned = [word for i, word in enumerate(words) if i > end and i not in (*sizes, *versions)]
    return {
        "general.basename": "-".join(words[:end]),
        "general.size_label": _size_label(words[sizes[0]] if sizes else "", n_parameters),
        "general.finetune": "-".join(tuned),
        "general.version": words[versions[0]] if versions else "",
    }


def _size_label(named: str, n_parameters: int) -> str:
    match = _SIZE.fullmatch(named)
    if match:
        stated = float(match[1]) * _SCALES[match[2].upper()]
        if "x" in named.lower() or 0.5 * stated <= n_parameters <= 1.5 * stated:
            return named[:-1] + named[-1].upper()
    scale = next((s for s in ("T", "B", "M") if n_parameters >= 0.9995 * _SCALES[s]), "K")
    count = n_parameters / _SCALES[scale]
    return f"{count:.1f}".removesuffix(".0") + scale if count < 9.95 else f"{count:.0f}{scale}"


def _base_models(card: Mapping[str, Any]) -> dict[str, Entry]:
    found = [parent for each in _unique(texts(card.get("base_model"))) if (parent := dict(_base_model(each)))]
    if not found:
        return {}
    keys: dict[str, Entry] = {"general.base_model.count": len(found)}
    for number, parent in enumerate(found):
        keys |= {f"general.base_model.{number}.{key}": value for key, value in parent.items()}
    return keys


def _base_model(named: str) -> Iterator[tuple[str, str]]:
    """Name, organisation and address of what a card names: a Hub id, an address, or a mere name; never a path."""
    hub_id = re.sub(r"^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", "", named).rstrip("/")
    if _HUB_ID.fullmatch(hub_id):
        organisation, _, name = hub_id.partition("/")
        yield from (("name", name), ("organization", organisation), ("repo_url", _HUB + hub_id))
    elif re.match(r"https?://", named):
        yield from (("name", named.rstrip("/").rpartition("/")[2]), ("repo_url", named))
    elif not re.search(r"[/\\]", named):
        yield "name", named
