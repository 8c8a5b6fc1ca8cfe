"""What transformers and sentencepiece answer, in a process of their own; nothing of the package is imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def ask(folders: Sequence[Path], text: str) -> list[list[int]]:
    """Ids of the text by AutoTokenizer of each folder, with what it puts around a text."""
    answers: list[list[int]] = _run("auto", {"folders": [str(folder) for folder in folders], "text": text})
    return answers


def sentencepiece(folder: Path) -> None:
    """Train models on `texts.json` of the folder, and write ids and pieces (text, score, type) of the BPE one."""
    _run("train", {"folder": str(folder)})


def _run(question: str, job: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, __file__, question], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{question} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def auto(job: dict[str, Any]) -> list[list[int]]:
    from transformers import AutoTokenizer

    return [AutoTokenizer.from_pretrained(folder).encode(job["text"]) for folder in job["folders"]]


def train(job: dict[str, Any]) -> None:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    folder = Path(job["folder"])
    texts = json.loads((folder / "texts.json").read_text())
    lines = [line for text in texts for line in text.split("\n") if line] * 2
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    kinds: dict[str, dict[str, Any]] = {
        "bpe": {**plain, "model_type": "bpe", "user_defined_symbols": ["[TOOL]"]},
        "unigram": {**plain, "model_type": "unigram"},
        "nfkc": {"model_type": "bpe", "byte_fallback": True},
    }
    for name, options in kinds.items():
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(folder / name),
            vocab_size=1300,
            character_coverage=0.98,
            minloglevel=3,
            hard_vocab_limit=False,
            allow_whitespace_only_pieces=True,
            **options,
        )
    model = SentencePieceProcessor(model_file=str(folder / "bpe.model"))
    (folder / "ids.json").write_text(json.dumps([model.encode(text) for text in texts]))
    pieces = [[model.id_to_piece(i), model.get_score(i), _type(model, i)] for i in range(model.get_piece_size())]
    (folder / "pieces.json").write_text(json.dumps(pieces))


def _type(model: Any, i: int) -> int:
    """llama.cpp's number; what is of no other kind is user-defined here where its score is 0."""
    if model.is_unknown(i):
        return 2
    if model.is_control(i):
        return 3
    if model.is_byte(i):
        return 6
    return 4 if model.id_to_piece(i) == "[TOOL]" else 1


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"auto": auto, "train": train}[sys.argv[1]](json.load(sys.stdin))))
