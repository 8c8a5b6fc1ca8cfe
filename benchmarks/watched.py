"""What a command and all that it starts take of memory and disk while it runs, read from /proc; Linux only."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_SECONDS = 0.5  # a process's own peak (VmHWM) is the kernel's: what is missed is its last half second
_KIB = 1024


@dataclass(kw_only=True)
class Watched:
    """Peaks so far, in bytes: resident memory of each kind of process, by what it runs, and the folders together."""

    root: int  # process id of the command
    folders: Sequence[Path]
    peaks: dict[str, int] = field(default_factory=dict)
    disk_bytes: int = 0

    @property
    def largest(self) -> tuple[str, int]:
        """What took most memory in one process, and how much."""
        return max(self.peaks.items(), key=lambda pair: pair[1], default=("", 0))

    def look(self) -> None:
        """Read every process and every folder once."""
        for pid in tree(self.root):
            name, peak = _process(pid)
            if name:
                self.peaks[name] = max(self.peaks.get(name, 0), peak)
        self.disk_bytes = max(self.disk_bytes, sum(map(used_bytes, self.folders)))


@contextmanager
def watching(root: int, folders: Sequence[Path]) -> Iterator[Watched]:
    """Look twice a second while the block runs."""
    watched, over = Watched(root=root, folders=folders), threading.Event()

    def look() -> None:
        while not over.is_set():
            watched.look()
            over.wait(_EVERY_SECONDS)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watched
    finally:
        over.set()
        thread.join()


def tree(root: int) -> list[int]:
    """The process and all below it that are there now."""
    found = [root]
    for pid in found:  # grows while it is gone through
        found += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it ended
        return []
    return [int(word) for text in lists for word in text.split()]


def _process(pid: int) -> tuple[str, int]:
    """What it runs, and its peak of resident memory; "" for one that is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "", 0
    peak = next((int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:")), 0)
    return _named(words), peak


def _named(words: Sequence[str]) -> str:
    """The function that a child of ours runs; of any other process the program."""
    entry = next((word for word in words if word.startswith("edgequant.") and ":" in word), "")
    return entry.removeprefix("edgequant.") or Path(words[0]).name


def used_bytes(folder: Path) -> int:
    """Bytes of all files in a folder as the disk has them; files with several names count once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))  # noqa: PTH118 thousands of them
            except OSError:  # it was removed meanwhile
                continue
            seen[found.st_dev, found.st_ino] = _KIB // 2 * found.st_blocks
    return sum(seen.values())
