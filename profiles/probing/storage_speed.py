"""How fast a file is read from the disk itself, told only where the system proves that it was."""

import errno
import os
import tempfile
import time
from pathlib import Path

_BYTES, _BLOCK = 64 << 20, 1 << 20
_SETTLE_SECONDS = 0.1


def read_speed(folder: Path, *, virtual: bool) -> tuple[float | None, str]:
    """Bytes per second of reading a fresh file in `folder`; else None, and why it cannot be told.

    The file is written, synced and dropped from memory (posix_fadvise), and a read that refuses to wait for the disk
    (RWF_NOWAIT, preadv2(2)) must fail. In a virtual machine the host may have kept it, so that nothing is told there.
    """
    if virtual:
        return None, "in a virtual machine the host may hold the file in its memory"
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return None, "this system does not say whether a file is still in memory"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return _timed(file.fileno())
    except OSError as error:
        return None, f"no file could be written in {folder}: {error.strerror}"


def _timed(descriptor: int) -> tuple[float | None, str]:
    block = os.urandom(_BLOCK)  # a disk that compresses gains nothing
    for _ in range(_BYTES // _BLOCK):
        os.write(descriptor, block)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    time.sleep(_SETTLE_SECONDS)
    if _in_memory(descriptor):
        return None, "the folder's file system keeps files in memory"
    os.lseek(descriptor, 0, os.SEEK_SET)
    started, n_bytes = time.perf_counter(), 0
    while part := os.read(descriptor, _BLOCK):
        n_bytes += len(part)
    return n_bytes / (time.perf_counter() - started), ""


def _in_memory(descriptor: int) -> bool:
    """Whether the beginning and the middle of the file can be read without the disk."""
    return any(_comes_at_once(descriptor, place) for place in (0, _BYTES // 2))


def _comes_at_once(descriptor: int, place: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], place, os.RWF_NOWAIT) > 0
    except OSError as error:
        # anything but "try again", as EOPNOTSUPP is, proves nothing
        return error.errno != errno.EAGAIN
