"""A bundle: what a device needs to measure a run's artifacts by itself, in one tar file that is the same every time.

NAME/bundle.json        what was run (run.json without the paths of this machine), and what lies in here
NAME/plan.json          what was predicted
NAME/prepared.json      text and items as token ids;  NAME/tasks/: the items themselves
NAME/tokenizer/         a tokenizer.json, made here where the checkpoint has a tokenizer.model alone
NAME/artifacts/         the artifacts with their manifests, and the reference's manifest
NAME/reference.npz      the reference's log-probabilities, compact;  NAME/reference.jsonl: its rows, answers included
NAME/wheels/, install.sh    with a device: everything that has to be installed there
NAME/SHA256SUMS         of all of them, as sha256sum writes it
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.artifact import MANIFEST_SUFFIX, Artifact, files_of
from ..convert.atomic import replacing
from ..profiles.records.measurement import Measurement
from .tokenizer_files import tokenizer_files

SCHEMA = 2
DESCRIPTION, SUMS = "bundle.json", "SHA256SUMS"
PREPARED, TOKENIZER, ARTIFACTS, TASKS = "prepared.json", "tokenizer", "artifacts", "tasks"
PLAN, REFERENCE, REFERENCE_ROWS = "plan.json", "reference.npz", "reference.jsonl"
SOURCE = "source"  # the format of a quantised file that a checkpoint came from; it lies outside the run
#: of run.json, what means something elsewhere; all else may name paths of this machine
_TOLD = ("schema", "context", "verified", "prepared", "reference")
_OF_CHECKPOINT = ("name", "revision", "n_parameters", "architecture", "dtype", "rescaled", "grid")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into a bundle. `described` is run.json; the reference's rows are those of its quality."""

    described: Mapping[str, Any]
    artifacts: Sequence[Artifact]
    reference: Artifact
    reference_rows: Sequence[Measurement]
    compact: Path
    prepared: Path
    prepared_digest: str
    checkpoint: Path  # the folder with the tokenizer
    tasks: Sequence[Path]
    plan: Mapping[str, Any]
    trained_context: int  # tokens
    n_vocab: int


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was written; sizes in bytes."""

    path: str
    size_bytes: int
    formats: Sequence[str]
    reference: str
    reference_bytes: int
    wheels: Sequence[str]


def write(contents: Contents, target: Path, *, installs: Path | None = None) -> Bundle:
    """Write the bundle as one tar file; `installs` is a folder with wheels/ and install.sh, for a device.

    `Error` where an artifact's files are not what its manifest says, or the target cannot be written.
    """
    files: dict[str, Path | bytes] = {**_made(contents), **_copied(contents)}
    files |= _installing(installs) if installs else {}
    files[SUMS] = "".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files)).encode()
    with replacing(target) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files, key=lambda name: (name != SUMS, name != DESCRIPTION, name)):
            _add(archive, f"{folder_name(target)}/{name}", files[name])
    return Bundle(
        path=str(target),
        size_bytes=target.stat().st_size,
        formats=[artifact.format for artifact in contents.artifacts],
        reference=contents.reference.format,
        reference_bytes=contents.compact.stat().st_size,
        wheels=sorted(name.partition("/")[2] for name in files if name.endswith(".whl")),
    )


def folder_name(path: Path) -> str:
    """What the folder in a bundle is called, and the one that it is unpacked to."""
    return path.stem if path.suffix else f"{path.name}-unpacked"


def _made(contents: Contents) -> dict[str, bytes]:
    """Files that are written for the bundle: name -> content."""
    prepared = json.loads(contents.prepared.read_text(encoding="utf-8"))
    rows = [json.dumps(row.to_json()) + "\n" for row in contents.reference_rows]
    tokenizer = tokenizer_files(contents.checkpoint)
    return {
        DESCRIPTION: _json(description(contents)),
        PLAN: _json(contents.plan),
        PREPARED: json.dumps({**prepared, "folder": TOKENIZER}).encode(),
        REFERENCE_ROWS: "".join(rows).encode(),
        **{f"{TOKENIZER}/{name}": data for name, data in tokenizer.items()},
        **{
            f"{ARTIFACTS}/{_name(each)}{MANIFEST_SUFFIX}": _json(each.to_json() | {"path": _name(each)})
            for each in (contents.reference, *contents.artifacts)
        },
    }


def description(contents: Contents) -> dict[str, Any]:
    """bundle.json: the run without this machine, and what a measurement needs of a checkpoint."""
    run = {key: contents.described[key] for key in _TOLD}
    checkpoint = contents.described["checkpoint"]
    origin = checkpoint["quantised_source"]
    run["checkpoint"] = {
        **{key: checkpoint[key] for key in _OF_CHECKPOINT},
        "quantised_source": {**origin, "path": Path(origin["path"]).name} if origin else None,
    }
    return {
        "schema": SCHEMA,
        "formats": [artifact.format for artifact in contents.artifacts],
        "prepared_digest": contents.prepared_digest,
        "trained_context": contents.trained_context,
        "n_vocab": contents.n_vocab,
        "made_by": contents.described["versions"],
        "run": run,
    }


def _copied(contents: Contents) -> dict[str, Path]:
    """Files that are taken as they are: name -> where they lie."""
    found = {REFERENCE: contents.compact}
    for number, task in enumerate(contents.tasks):
        name = f"{TASKS}/{task.name}"
        found[name if name not in found else f"{TASKS}/{number}-{task.name}"] = task
    for artifact in contents.artifacts:
        found |= {f"{ARTIFACTS}/{name}": file for name, file in _of_artifact(artifact)}
    return found


def _of_artifact(artifact: Artifact) -> Iterator[tuple[str, Path]]:
    path = Path(artifact.path)
    files = files_of(path)
    if not all(file.is_file() for file in files) or sum(f.stat().st_size for f in files) != artifact.size_bytes:
        raise Error(
            f"the files of {artifact.format} are not those that its manifest describes", hint="convert it again"
        )
    if artifact.format == SOURCE:
        yield SOURCE, path
    else:
        yield from ((file.relative_to(path.parent).as_posix(), file) for file in files)


def _name(artifact: Artifact) -> str:
    return SOURCE if artifact.format == SOURCE else Path(artifact.path).name


def _installing(folder: Path) -> dict[str, Path]:
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _digest(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    """Add one file without what differs from machine to machine: owner, time, and all of the mode but its use."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o755 if name.endswith(".sh") else 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    entry.size = content.stat().st_size
    with content.open("rb") as stream:
        archive.addfile(entry, stream)
