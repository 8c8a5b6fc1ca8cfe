"""What transformers' AutoTokenizer answers, in a process of its own; nothing of the package is imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def ask(folders: Sequence[Path], text: str) -> list[list[int]]:
    """Ids of the text by the tokenizer of each folder, with what it puts around a text."""
    job = json.dumps({"folders": [str(folder) for folder in folders], "text": text})
    done = subprocess.run([sys.executable, __file__], input=job, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"AutoTokenizer ended with {done.returncode}: {done.stderr[-2000:]}")
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


def main() -> None:
    """The other side: folders and text on stdin, ids on stdout."""
    from transformers import AutoTokenizer

    job = json.load(sys.stdin)
    answers = [AutoTokenizer.from_pretrained(folder).encode(job["text"]) for folder in job["folders"]]
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
