"""Where the checkpoint of a run lies: for its tokenizer, its card and its licence, long after the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error, child
from ...convert.checkpoint import Checkpoint, open_folder
from ...convert.source import HUB_ID
from ...profiles.records.run_folder import RunFolder

_HINT = "name the folder with the checkpoint: --checkpoint FOLDER"
_SECONDS = 300.0
_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A run's checkpoint; `papers` is the folder with its card and licence, `hub_id` "" for one that is not there."""

    checkpoint: Checkpoint
    papers: Path
    hub_id: str


def origin_of(run: RunFolder, *, named: Path | None = None) -> Origin:
    """The checkpoint of a run, in `named` or where the run found it; `Error` where it is gone or has changed since.

    Hashes all its files, unless the Hub's commit names them.
    """
    values = run.open()
    known, said = values["checkpoint"], values.get("source", "")
    folder = named or folder_of(run, values)
    hub_id = said if _is_on_hub(values) else ""
    if folder is None:
        where = f"is not where it was: {said}" if said else "did not come with the bundle"
        raise Error(f"the checkpoint of {run.path} {where}", hint=_HINT)
    revision = known["revision"] if hub_id else ""
    opened = open_folder(folder, source=said, name=known["name"], revision=revision)
    if opened.revision != known["revision"]:
        raise Error(f"{folder} is not what {run.path} was made from", hint=f"run again, or {_HINT}")
    papers = next(place for place in (named, *_at(said), folder) if place)
    return Origin(checkpoint=opened, papers=papers, hub_id=hub_id)


def folder_of(run: RunFolder, values: Mapping[str, Any]) -> Path | None:
    """The checkpoint's folder: made in the run, named by the user, or in the Hub's cache; None where it is gone."""
    said = values.get("source", "")  # a bundle does not say
    made = run.source / values["checkpoint"]["name"]
    found = next((place for place in [made, *_at(said)] if (place / _CONFIG).is_file()), None)
    if found or not _is_on_hub(values):
        return found
    job = {"id": said, "revision": values["checkpoint"]["revision"]}
    outcome = child.run(f"{__name__}:cached", job, deadline_seconds=_SECONDS)
    return Path(outcome.value) if outcome.status == "ok" and outcome.value else None


def _at(said: str) -> list[Path]:
    """The folder that a user named as the model, if it is one: `demo` may be a folder of any kind by now."""
    return [Path(said)] if said and (Path(said) / _CONFIG).is_file() else []


def _is_on_hub(values: Mapping[str, Any]) -> bool:
    """Whether the run's checkpoint came from the Hub, whose revisions are commits and no digests of ours."""
    named = bool(HUB_ID.fullmatch(values.get("source", "")))
    return named and not values["checkpoint"]["revision"].startswith("sha256:")


def cached(job: Mapping[str, Any]) -> str | None:
    """The folder of a model in the Hub's own cache; None where it is not there. Behind the fence, without a network."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return str(snapshot_download(job["id"], revision=job["revision"], local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
