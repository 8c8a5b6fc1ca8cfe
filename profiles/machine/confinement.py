"""A real limit on a child's memory, so that "fits in 1 GB" is shown and not computed.

    with confine(1_000_000_000, files=[artifact.path]) as limit:
        outcome = limit.judge(child.run(entry, job, started=limit.take))

Linux only: a control group (version 2 or 1) where one may be made, else RLIMIT_DATA. On macOS and Windows nothing is
limited, and `kind` says "none".
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from ... import Error
from ...child import Outcome
from . import host
from .text_files import counts, number, read_text

_PREFIX = "edgequant-"
V2, V1, DATA, NONE = "cgroup v2", "cgroup v1", "RLIMIT_DATA", "none"
_GROUP_MEANING = (
    "memory of every kind that it allocates or maps, weights mapped from the file included, without swap; the 10 MB or "
    "so that the interpreter takes to start come on top"
)
_DATA_MEANING = (
    "private writable memory alone, whether touched or not; weights mapped from the file do not count, so the file's "
    "size comes on top"
)
_NO_MEANING = "nothing is limited: this system offers no limit that an engine would heed"
#: a process that lives until its input ends
_WAITS = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()")
#: what is said where a thread, a library, a model's table or Python's importer did not get its memory; seen under this
#: limit, and without it they may mean something else
_REFUSALS = (
    "Thread creation failed",
    "can't start new thread",
    "failed to map segment",
    "cannot map zero-fill pages",
    "llama_model_loader: failed to load model",
    "SystemError",
)


@dataclass(kw_only=True)
class Limit:
    """A limit in bytes, the way it is laid on a process, and what it limits."""

    limit_bytes: int
    kind: str  # V2, V1, DATA or NONE
    meaning: str
    group: Path | None = None
    _struck: bool = False
    _peak_bytes: int | None = None

    def take(self, pid: int) -> None:
        """Lay the limit on a process; `Error` where the system refuses. What has died already is let go."""
        try:
            if self.group:
                (self.group / "cgroup.procs").write_text(str(pid))
            elif self.kind == DATA:
                _limit_data(pid, self.limit_bytes)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise Error(f"memory cannot be limited by {self.kind}: {error.strerror}") from None

    def struck(self) -> bool:
        """Whether the group's out-of-memory killer ended a process; a limit without a group has no killer."""
        if self.group and self.group.exists():
            told = {**counts(self.group / "memory.events"), **counts(self.group / "memory.oom_control")}
            self._struck = told.get("oom_kill", 0) > 0
        return self._struck

    def peak_bytes(self) -> int | None:
        """The most that the group was charged with, page cache included; None where nobody counts."""
        if self.group and self.group.exists():
            peaks = (number(self.group / name) for name in ("memory.peak", "memory.max_usage_in_bytes"))
            self._peak_bytes = next((peak for peak in peaks if peak is not None), None)
        return self._peak_bytes

    def judge(self, outcome: Outcome) -> Outcome:
        """The outcome of a process under this limit: what the limit ended is "oom", whatever it died of."""
        if outcome.status == "ok" or self.kind == NONE:
            return outcome
        if self.struck():
            how = "the kernel ended it"
        elif outcome.status == "oom":
            how = outcome.note
        elif self.kind == DATA and _was_refused(outcome):
            how = f"{outcome.note}; most likely an allocation was refused"
        else:
            return outcome
        return replace(
            outcome, status="oom", note=f"needs more than {self.limit_bytes / 1e6:,.0f} MB ({self.kind}): {how}"
        )

    def to_json(self) -> dict[str, Any]:
        """What a row tells of its limit, sizes in bytes."""
        return {"kind": self.kind, "meaning": self.meaning, "bytes": self.limit_bytes, "peak_bytes": self.peak_bytes()}


@contextmanager
def confine(limit_bytes: int, *, files: Sequence[str | Path] = (), root: Path = host.ROOT) -> Iterator[Limit]:
    """A limit for children that are started within; its group goes with the last of them.

    `files` (or folders of them) are what the child will map: they are put out of the page cache, because a group is not
    charged for what is cached on another's account.
    """
    limit = _limit(limit_bytes, root)
    try:
        for file in files:
            put_out_of_cache(Path(file))
        yield limit
    finally:
        limit.struck()
        limit.peak_bytes()
        if limit.group:
            _remove(limit.group)


def put_out_of_cache(path: Path) -> None:
    """Ask the kernel to forget a file's cached pages, or a folder's; those that others map or write stay."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in [path] if path.is_file() else (each for each in sorted(path.rglob("*")) if each.is_file()):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)  # a page that is not on the disk yet cannot be forgotten
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _was_refused(outcome: Outcome) -> bool:
    """Whether a crash is one of those that were seen where an allocation fails and nobody checks.

    ONNX Runtime, llama.cpp, numpy and the interpreter died of SIGABRT, of SIGSEGV and with exit codes 1 and 127.
    """
    if outcome.status == "error":
        return any(words in outcome.note for words in _REFUSALS)
    died = bool(outcome.signal) or "no answer" in outcome.note
    return outcome.signal != "SIGILL" and (died or any(words in outcome.note + outcome.log for words in _REFUSALS))


def is_possible() -> bool:
    """Whether this system lays any limit on a process."""
    return sys.platform == "linux"


def _limit(limit_bytes: int, root: Path) -> Limit:
    """The best limit that may be laid here."""
    for kind, parent in group_parents(root=root):
        group = _group(parent, kind, limit_bytes)
        if group:
            return Limit(limit_bytes=limit_bytes, kind=kind, meaning=_GROUP_MEANING, group=group)
    if is_possible():
        return Limit(limit_bytes=limit_bytes, kind=DATA, meaning=_DATA_MEANING)
    return Limit(limit_bytes=limit_bytes, kind=NONE, meaning=_NO_MEANING)


def group_parents(*, root: Path = host.ROOT) -> list[tuple[str, Path]]:
    """Groups in which one for a child may be made, the nearest first.

    Version 2 wants the controller handed down and write access to `cgroup.procs` of a group that has both the old and
    the new one below it (kernel documentation, admin-guide/cgroup-v2.rst, "Delegation Containment"); version 1 wants
    write access alone.
    """
    found = []
    for folder in host.cgroup_folders(root=root):
        if not os.access(folder / "cgroup.procs", os.W_OK):
            continue
        if "memory" in read_text(folder / "cgroup.subtree_control").split():
            found.append((V2, folder))
        elif (folder / "memory.limit_in_bytes").exists():
            found.append((V1, folder))
    return found


def _group(parent: Path, kind: str, limit_bytes: int) -> Path | None:
    """A new group below `parent` that takes processes, with its limits set; None where the system refuses."""
    _remove_left(parent)
    try:
        group = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    except OSError:
        return None
    try:
        _try(group)
        if kind == V2:
            (group / "memory.max").write_text(str(limit_bytes))
            _set(group / "memory.swap.max", 0)
        else:
            (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
            # memory and swap together: equal to the first limit, they leave nothing to swap
            if not _set(group / "memory.memsw.limit_in_bytes", limit_bytes):
                _set(group / "memory.swappiness", 0)
    except OSError:
        _remove(group)
        return None
    return group


def _try(group: Path) -> None:
    """Move a process that does nothing into the group and let it end; `OSError` where the group refuses it.

    Before limits are set: a small one would end the process, and that would be taken for what is measured.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(_WAITS, stdin=pipe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        (group / "cgroup.procs").write_text(str(process.pid))


def _set(file: Path, value: int) -> bool:
    """Set what a kernel built without accounting of swap does not have."""
    try:
        with file.open("r+") as handle:
            handle.write(str(value))
    except OSError:
        return False
    return True


def _remove(group: Path) -> None:
    """Remove a group as soon as the kernel has put away its last process."""
    for _ in range(20):
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    logging.getLogger(__name__).warning("%s could not be removed", group)


def _remove_left(parent: Path) -> None:
    """Remove groups of processes that were killed before they could."""
    for group in parent.glob(f"{_PREFIX}*"):
        owner = group.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with suppress(OSError):
                group.rmdir()


def _limit_data(pid: int, limit_bytes: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.prlimit(pid, resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
