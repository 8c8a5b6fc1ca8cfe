"""What a user names to talk to, found: a file, a folder, an export, or a run's pick."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import Error
from ...convert.artifact import files_of
from ...convert.fused.graph import MODEL_FILE
from ...profiles.records.lone_artifact import is_artifact, trained_context
from ...profiles.records.run_folder import RunFolder
from .folder import TOKENIZER
from .generation import generation_config
from .origin import folder_of
from .shipment import picked


@dataclass(frozen=True, kw_only=True)
class TalkedTo:
    """An artifact, the context in tokens that it was trained for (0 for not known), and its generation_config.json."""

    container: str
    path: Path
    trained_context: int
    generation: Mapping[str, Any]


def talked_to(named: Path) -> TalkedTo:
    """What `named` means; `Error` where nothing can be talked to there."""
    path = _artifact(named)
    return TalkedTo(
        container="gguf" if path.is_file() else "onnx",
        path=path,
        trained_context=trained_context(path),
        generation=_generation(path),
    )


def _artifact(named: Path) -> Path:
    if is_artifact(named):
        path = named if named.is_dir() else files_of(named)[0]  # any shard stands for the whole
        if not path.exists():
            raise Error(f"{path} does not exist")
        return path
    if RunFolder(named).description.is_file():
        return Path(picked(named).path)
    found = sorted(named.glob("*.gguf")) if named.is_dir() else []
    if found and set(found) <= set(files_of(found[0])):  # an export of one file, or of all its shards
        return found[0]
    there = "does not exist" if not named.exists() else f"holds {len(found)} GGUF files" if found else "holds no model"
    raise Error(f"{named} {there}", hint=f"name a .gguf file, a folder with {MODEL_FILE}, or a run")


def _generation(path: Path) -> dict[str, Any]:
    """What the model's makers say of how to draw: in the folder, beside the file, or in the run's checkpoint."""
    places = [path] if path.is_dir() else [path.parent / TOKENIZER, path.parent]
    run = RunFolder(path.absolute().parent.parent)
    if path.is_file() and run.description.is_file():
        folder = folder_of(run, run.open())
        places += [run.path / TOKENIZER, *([folder] if folder else [])]  # a bundle has it with the tokenizer
    return next((found for place in places if (found := generation_config(place))), {})
