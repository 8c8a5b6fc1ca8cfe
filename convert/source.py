"""What a user names as a model, made into a checkpoint: a folder, a GGUF file, a Hub id, or the demo."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import Error, child
from . import demo, gguf_source, pickled
from .checkpoint import PROVENANCE_FILE, Checkpoint, open_folder
from .gguf_header import read_header

DEMO = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "LICENSE*", "README.md"]
_HUB_DEADLINE_SECONDS = 4 * 3600.0


def open_source(named: str, *, workspace: Path, progress: child.Progress | None = None) -> Checkpoint:
    """Open what `named` says; a GGUF is dequantised into `workspace`, a Hub id downloaded to the Hub's own cache.

    Raises `Error` for something that is neither, and for a checkpoint that cannot be opened.
    """
    path = Path(named)
    if named == DEMO and not path.exists():
        return _from_gguf(demo.find(), workspace / DEMO_NAME, source=named, rescale=True, progress=progress)
    if path.is_file():
        if path.suffix != ".gguf":
            raise Error(f"{named} is a file of no kind that can be opened", hint="name a folder, or a .gguf file")
        return _from_gguf(path, workspace / path.stem, source=named, rescale=False, progress=progress)
    if not path.exists() and HUB_ID.fullmatch(named):
        return _from_hub(named, progress)
    if pickled.is_pickled(path):
        return _from_pickles(path, workspace / path.resolve().name, source=named, progress=progress)
    return open_folder(path, source=named)


def _from_pickles(path: Path, folder: Path, *, source: str, progress: child.Progress | None) -> Checkpoint:
    newest = max(file.stat().st_mtime_ns for file in path.iterdir())
    if not folder.exists() or folder.stat().st_mtime_ns < newest:
        job = {"folder": str(path), "target": str(folder)}
        child.run("edgequant.convert.pickled:to_safetensors", job, progress=progress).unwrap()
    return open_folder(folder, source=source, name=folder.name)


def _from_gguf(file: Path, folder: Path, *, source: str, rescale: bool, progress: child.Progress | None) -> Checkpoint:
    if not _is_from(folder, file, rescale=rescale):
        _check_disk(folder, sum(4 * tensor.n_elements for tensor in read_header(file).tensors))
        job = {"file": str(file), "folder": str(folder), "rescale": rescale}
        child.run(f"{__name__}:dequantise", job, progress=progress).unwrap()
    return open_folder(folder, source=source, name=folder.name)


def _check_disk(folder: Path, needed_bytes: int) -> None:
    there = next(path for path in folder.absolute().parents if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        sizes = f"{free / 1e9:.1f} GB free, but the dequantised model takes {needed_bytes / 1e9:.1f} GB"
        raise Error(
            f"the disk of {there} has {sizes}",
            hint="free some space, or choose another folder with --out",
        )


def dequantise(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Dequantise `job["file"]` to `job["folder"]`; behind the fence."""

    def count(done: int, total: int) -> None:
        progress(f"{done} of {total} tensors")

    gguf_source.dequantise(Path(job["file"]), Path(job["folder"]), rescale=job["rescale"], progress=count)


def _is_from(folder: Path, file: Path, *, rescale: bool) -> bool:
    """Whether an earlier run left in `folder` what dequantising `file` would write."""
    provenance = folder / PROVENANCE_FILE
    if not provenance.is_file():
        return False
    try:
        values: dict[str, Any] = json.loads(provenance.read_text(encoding="utf-8"))
    except ValueError:
        return False
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return bool(values.get("source_sha256") == digest and values.get("rescaled") == rescale)


def _from_hub(hub_id: str, progress: child.Progress | None) -> Checkpoint:
    if progress:
        progress(f"looking for {hub_id} on the Hub")
    outcome = child.run(f"{__name__}:download", {"id": hub_id}, deadline_seconds=_HUB_DEADLINE_SECONDS)
    if outcome.status != "ok":
        raise Error(
            f"{hub_id} is no local path, and the Hub did not give it: {outcome.note}",
            hint=outcome.hint or "check the spelling and the network, or name a local folder",
        )
    folder, commit = outcome.value
    return open_folder(Path(folder), source=hub_id, name=hub_id.split("/")[1], revision=commit)


def download(job: Mapping[str, Any]) -> tuple[str, str]:
    """Download a model from the Hub, pinned to the commit that its main branch is at: folder and commit."""
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise Error("huggingface_hub is not installed", hint='pip install "edgequant[convert]"') from None
    try:
        commit = HfApi().model_info(job["id"]).sha or "main"
        return snapshot_download(job["id"], revision=commit, allow_patterns=_HUB_FILES), commit
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Error(str(error).splitlines()[0]) from None
