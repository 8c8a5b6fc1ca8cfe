"""Small files of /proc and /sys; what cannot be read is as good as empty."""

from pathlib import Path


def read_text(path: Path) -> str:
    """The text without blanks around it; "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """A whole number, None where the file holds none."""
    text = read_text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def counts(path: Path) -> dict[str, int]:
    """First words of lines, without a colon after them, and the whole numbers that follow; all other lines say nothing.

    So are /proc/meminfo ("MemTotal:  1894000 kB"), /proc/vmstat, cpu.stat and memory.events ("oom_kill 1").
    """
    lines = (line.split() for line in read_text(path).splitlines())
    return {words[0].removesuffix(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
