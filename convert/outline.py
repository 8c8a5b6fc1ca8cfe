"""What a user names as a model, as a checkpoint without its weights: enough to plan with, and read in a moment.

A GGUF is not dequantised, a folder not hashed, pickles are mapped, and of a model on the Hub come config.json and the
headers of its safetensors files alone (byte ranges; a few hundred kilobytes).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

from .. import Error, child
from . import demo, gguf_source, pickled
from .checkpoint import Checkpoint, QuantisedSource, assemble, open_folder
from .safetensors_header import DTYPE_BYTES, TensorInfo
from .source import DEMO, DEMO_NAME, HUB_ID

NOT_HASHED = "sha256:" + 64 * "0"  # as long as a digest, for files that state it
_DEADLINE_SECONDS = 300.0
_SMALL = (".json", ".jinja", "tokenizer.model", "README.md", "LICENSE")


def open_outline(named: str, *, workspace: Path, progress: child.Progress | None = None) -> Checkpoint:
    """The checkpoint that `source.open_source` would open; its tensors have names, shapes and types, and no data.

    Configuration and tokenizer of a GGUF are written into `workspace`, as small files. Of a model on the Hub the
    tokenizer is there only where an earlier download left it (`Checkpoint.remote`). Raises `Error` as opening does.
    """
    path = Path(named)
    if named == DEMO and not path.exists():
        return _of_gguf(demo.find(), workspace / DEMO_NAME, source=named, rescale=True)
    if path.is_file():
        if path.suffix != ".gguf":
            raise Error(f"{named} is a file of no kind that can be opened", hint="name a folder, or a .gguf file")
        return _of_gguf(path, workspace / path.stem, source=named, rescale=False)
    if not path.exists() and HUB_ID.fullmatch(named):
        if progress:
            progress(f"asks the Hub for the headers of {named}")
        return _of_hub(named, workspace / named.replace("/", "--"))
    if pickled.is_pickled(path):
        return _of_pickles(path, workspace / path.resolve().name, source=named)
    return open_folder(path, source=named, revision=NOT_HASHED)


def _of_gguf(file: Path, folder: Path, *, source: str, rescale: bool) -> Checkpoint:
    job = {"file": str(file), "folder": str(folder)}
    answer = child.run(f"{__name__}:read_gguf", job).unwrap()
    found = assemble(folder, _tensors(folder, answer["tensors"]), source=source, revision=NOT_HASHED)
    origin = QuantisedSource(**answer["origin"]) if answer["origin"] else None
    return replace(found, quantised_source=origin, rescaled=rescale)


def read_gguf(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write configuration and tokenizer of the GGUF `job["file"]` into `job["folder"]`; behind the fence."""
    tensors, origin = gguf_source.outline(Path(job["file"]), Path(job["folder"]))
    return {"tensors": [[name, shape, "F32"] for name, shape in tensors], "origin": origin and asdict(origin)}


def _of_pickles(path: Path, folder: Path, *, source: str) -> Checkpoint:
    rows = child.run(f"{pickled.__name__}:outline", {"folder": str(path), "target": str(folder)}).unwrap()
    return assemble(folder, _tensors(folder, rows), source=source, revision=NOT_HASHED)


def _of_hub(hub_id: str, folder: Path) -> Checkpoint:
    job = {"id": hub_id, "folder": str(folder)}
    outcome = child.run(f"{__name__}:read_hub", job, deadline_seconds=_DEADLINE_SECONDS)
    if outcome.status != "ok":
        raise Error(
            f"{hub_id} is no local path, and the Hub did not give its headers: {outcome.note}",
            hint=outcome.hint or "check the spelling and the network, or name a local folder",
        )
    commit, rows = outcome.value
    name = hub_id.split("/")[1]
    stored = _tensors(folder, rows)
    return assemble(folder, stored, source=hub_id, name=name, revision=commit, remote=True)


def read_hub(job: Mapping[str, Any]) -> tuple[str, list[list[Any]]]:
    """The commit and the tensors of the model `job["id"]`, its small files in `job["folder"]`; behind the fence."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError
    except ImportError:
        raise Error("huggingface_hub is not installed", hint='pip install "edgequant[convert]"') from None
    api = HfApi()
    try:
        info = api.model_info(job["id"])
        commit = info.sha or "main"
        _fetch(job["id"], commit, Path(job["folder"]), there={each.rfilename for each in info.siblings or ()})
        files = api.get_safetensors_metadata(job["id"], revision=commit).files_metadata
    except NotASafetensorsRepoError:
        raise Error(
            f"{job['id']} holds no safetensors file",
            hint="headers of pickled weights cannot be asked for: download the model, and name its folder",
        ) from None
    except (HfHubHTTPError, SafetensorsParsingError, OSError) as error:
        raise Error(str(error).splitlines()[0]) from None
    return commit, [[name, t.shape, t.dtype] for file in files.values() for name, t in file.tensors.items()]


def _fetch(hub_id: str, commit: str, folder: Path, *, there: set[str]) -> None:
    """config.json from the Hub; what else is small, from where earlier downloads left it."""
    import shutil

    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if "config.json" not in there:
        raise Error(f"{hub_id} has no config.json", hint="name a model for transformers, not an adapter or a GGUF")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(hf_hub_download(hub_id, "config.json", revision=commit), folder)
    for name in there:
        if "/" not in name and name.endswith(_SMALL):
            kept = try_to_load_from_cache(hub_id, name, revision=commit)
            if isinstance(kept, str):
                shutil.copy(kept, folder)


def _tensors(folder: Path, rows: Iterable[Sequence[Any]]) -> dict[str, TensorInfo]:
    """What a header would say of (name, shape, type)."""
    return {
        name: TensorInfo(
            name=name,
            shape=tuple(shape),
            dtype=dtype,
            file=folder / "model.safetensors",
            offset=0,
            n_bytes=prod(shape) * DTYPE_BYTES.get(dtype, 1),
        )
        for name, shape, dtype in rows
    }
