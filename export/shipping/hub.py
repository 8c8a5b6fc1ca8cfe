"""`hub`: what `folder` writes, as a repository on the Hugging Face Hub."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import Error, child
from .card import licence_in
from .folder import CARD, contents, notes
from .shipment import Shipment
from .written import Files, Written

_SECONDS = 12 * 3600.0
_FIRST_WORDS = 200


def look(shipment: Shipment, *, repo: str) -> tuple[Written, str]:
    """What an upload would send, and its card up to the table; nothing leaves this machine."""
    files = contents(shipment)
    text = files[CARD]
    assert isinstance(text, bytes)
    refusal = _refusal(shipment)
    return Written(
        target="hub",
        format=shipment.format,
        folder=repo,
        files=_sizes(files),
        notes=(*([f"an upload would be refused: {refusal}"] if refusal else []), *notes(shipment)),
        next_steps=(),
    ), text.decode().partition("\n|")[0]


def upload(
    shipment: Shipment, *, repo: str, private: bool, accepts_licence: bool, progress: child.Progress | None = None
) -> Written:
    """Make the repository where it is not there, and send everything as one commit.

    `Error` where the licence forbids it or nobody knows one, unless `accepts_licence`, and where the Hub refuses.
    """
    refusal = _refusal(shipment)
    if refusal and not accepts_licence:
        raise Error(refusal, hint="if you have the right to publish it: --accept-licence")
    files = contents(shipment)
    job = {
        "repo": repo,
        "private": private,
        "message": f"{shipment.format}, by edgequant",
        "files": [_packed(name, content) for name, content in files.items()],
    }
    address = child.run(f"{__name__}:send", job, deadline_seconds=_SECONDS, progress=progress).unwrap()
    return Written(
        target="hub", format=shipment.format, folder=address, files=_sizes(files), notes=notes(shipment), next_steps=()
    )


def _refusal(shipment: Shipment) -> str:
    return licence_in(shipment).objection


def _sizes(files: Files) -> dict[str, int]:
    return {name: len(each) if isinstance(each, bytes) else each.stat().st_size for name, each in sorted(files.items())}


def _packed(name: str, content: Path | bytes) -> dict[str, str]:
    if isinstance(content, bytes):
        return {"name": name, "base64": base64.b64encode(content).decode()}
    return {"name": name, "path": str(content)}


def send(job: Mapping[str, Any], progress: child.Progress) -> str:
    """Send `job["files"]` to `job["repo"]` as one commit; returns its address. Behind the fence."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalTokenNotFoundError,
            OfflineModeIsEnabled,
        )
    except ImportError:
        raise Error("huggingface_hub is not installed", hint='pip install "edgequant[convert]"') from None
    try:
        api = HfApi(library_name="edgequant")
        progress(f"asks the Hub for {job['repo']}")
        api.create_repo(job["repo"], private=job["private"] or None, exist_ok=True)
        progress(f"sends {len(job['files'])} files to {job['repo']}")
        done = api.create_commit(job["repo"], operations=_operations(job["files"]), commit_message=job["message"])
    except LocalTokenNotFoundError:
        raise Error("the Hub does not know who you are", hint="hf auth login, or set HF_TOKEN") from None
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled) as error:
        words = " ".join(str(error).split())[:_FIRST_WORDS]
        raise Error(f"the Hub did not take it: {words}") from None
    except OSError as error:  # of the network, or of a file that went away
        raise Error(
            f"the Hub cannot be reached ({type(error).__name__})", hint="check the network, and try again"
        ) from None
    return str(done.commit_url)


def _operations(files: Sequence[Mapping[str, str]]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    return [
        CommitOperationAdd(
            path_in_repo=each["name"],
            path_or_fileobj=each["path"] if "path" in each else base64.b64decode(each["base64"]),
        )
        for each in files
    ]
