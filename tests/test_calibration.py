"""The calibration text is one of its own, and becomes windows of token ids; a file that is no text is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import small_checkpoint
from decoders import DECODERS, TOKENS, transformers_makes
from edgequant import Error, child
from edgequant.accuracy import items
from edgequant.convert.calibration import walk
from edgequant.convert.calibration.windows import TEXT_FILE, cut, read, windows

BOS = 295
#: one of each family, and the forms that differ in what stands before a product
WALKED = ("llama-biases", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "smollm3", "granite", "olmo2")


def measured_texts() -> list[str]:
    """All that quality is measured on: the evaluation text, questions, choices and answers."""
    rows = [json.loads(line) for file in items.built_in() for line in file.read_text(encoding="utf-8").splitlines()]
    return [items.TEXT_FILE.read_text(encoding="utf-8"), *(text for row in rows for text in strings(row))]


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in nested for text in strings(each)]


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[n : n + length]) for n in range(len(words) - length + 1)}


def sentences(text: str) -> set[str]:
    """Sentences and lines of three words or more, without what separates words; Chinese and Japanese by characters."""
    parts = re.split(r"[.!?。！？।]\s*|\n", text)
    joined = (" ".join(re.findall(r"\w+", part.lower())) for part in parts)
    return {each for each in joined if each.count(" ") >= 2 or (len(each) > 8 and not each.isascii())}


def test_it_shares_no_sentence_and_no_run_of_words_with_what_is_measured() -> None:
    ours, theirs = TEXT_FILE.read_text(encoding="utf-8"), measured_texts()
    assert len(runs(ours, 8)) > 2000 and sum(len(runs(text, 8)) for text in theirs) > 5000
    assert not runs(ours, 8) & {run for text in theirs for run in runs(text, 8)}
    assert not sentences(ours) & {sentence for text in theirs for sentence in sentences(text)}


def test_the_comparison_sees_a_copy() -> None:
    copied = items.TEXT_FILE.read_text(encoding="utf-8")[300:420]
    assert runs(copied, 8) & runs(measured_texts()[0], 8)
    assert sentences("x\nThere was, until last week!") & sentences(measured_texts()[0])


def test_it_is_varied_and_fills_several_windows(pocket_folder: Path) -> None:
    text = TEXT_FILE.read_text(encoding="utf-8")
    scripts = ("[α-ω]", "[а-я]", "[ا-ي]", "[अ-ह]", "[ぁ-ん]", "[一-龥]", "def ", "SELECT", r"\{\n", r"\|---")
    assert all(re.search(script, text) for script in scripts)
    assert 18_000 < len(text.encode()) < 22_000
    assert len(windows(pocket_folder)) > 8


def test_windows_begin_as_the_model_expects(tmp_path: Path) -> None:
    small_checkpoint.write_tokenizer(tmp_path)
    changes = {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True}
    small_checkpoint.change_json(tmp_path / "tokenizer_config.json", **changes)
    (tmp_path / "mine.txt").write_text("\ufeffthe cat sat " * 200, encoding="utf-8")
    found = windows(tmp_path, text=tmp_path / "mine.txt", context=100)
    assert all(window[0] == BOS and BOS not in window[1:] for window in found)
    assert {len(window) for window in found[:-1]} == {100} and 1 < len(found[-1]) <= 100
    assert len(windows(tmp_path)[0]) == 512


def test_tokens_are_cut_in_their_order_and_not_for_ever() -> None:
    found = cut(range(1000), size=300, begin=[7])
    assert [len(window) for window in found] == [300, 300, 300, 104]
    assert [token for window in found for token in window[1:]] == list(range(1000))
    assert sum(map(len, cut(range(20_000), size=512, begin=[7]))) == 8192
    with pytest.raises(Error, match="no room for a text"):
        cut(range(10), size=1, begin=[7])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "is no text in UTF-8: byte 0 is 0x89"),
        ("Tür".encode("latin-1"), "is no text in UTF-8: byte 1 is 0xfc"),
        ("text".encode("utf-16-le"), "holds a zero byte"),
        ("Tür".encode()[:2], "is no text in UTF-8"),
    ],
)
def test_what_is_no_text_ends_in_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Error, match=said) as caught:
        read(file)
    assert "\n" not in str(caught.value) and "UTF-8" in caught.value.hint
    with pytest.raises(Error, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_of_a_long_file_the_first_part_is_read(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("ü" * 2**20 + "end", encoding="utf-8")
    (tmp_path / "odd.txt").write_text("x" + "ü" * 2**20, encoding="utf-8")  # cut within a character
    assert read(tmp_path / "long.txt") == "ü" * 2**19
    assert read(tmp_path / "odd.txt") == "x" + "ü" * (2**19 - 1)


# -- the walk


def observed(job: dict[str, Any]) -> None:
    """In a child: every product's inputs, as the walk gives them, in one .npz beside each folder."""
    from edgequant.convert.checkpoint import open_folder

    for folder in job["folders"]:
        seen: dict[str, list[NDArray[np.float32]]] = {}
        order: list[str] = []

        def visit(product: str, x: NDArray[np.float32], seen: Any = seen, order: Any = order) -> None:
            order.append(product)
            seen.setdefault(product, []).append(x)

        checkpoint = open_folder(Path(folder), revision="none")
        layers = list(walk.walk(checkpoint, job["windows"], visit))
        assert layers == list(range(checkpoint.config["num_hidden_layers"]))
        assert [int(name.split(".")[1]) for name in order] == sorted(int(name.split(".")[1]) for name in order)
        np.savez(f"{folder}-walked.npz", **{name: np.concatenate(rows) for name, rows in seen.items()})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the inputs of all products of every family: NAME.npz by transformers, NAME-walked.npz by us."""
    root = tmp_path_factory.mktemp("walked")
    models = {name: {"class": DECODERS[name].kind, "config": DECODERS[name].config} for name in WALKED}
    transformers_makes({"folder": str(root), "tokens": TOKENS[:8], "seed": 3, "models": models})
    job = {"folders": [str(root / name) for name in WALKED], "windows": [TOKENS[:64], TOKENS[100:150]]}
    script = Path(__file__).with_name("product_inputs.py")
    subprocess.run([sys.executable, script], input=json.dumps(job), text=True, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        child.run("test_calibration:observed", job).unwrap()
    yield root


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKED)
def test_every_product_gets_what_it_gets_in_transformers(inputs: Path, name: str) -> None:
    theirs, ours = np.load(inputs / f"{name}.npz"), np.load(inputs / f"{name}-walked.npz")
    n_layers = DECODERS[name].config["num_hidden_layers"]
    assert set(ours) == set(theirs) and len(ours) == len(walk.PRODUCTS) * n_layers
    for product in theirs:
        assert ours[product].shape == theirs[product].shape
        assert np.abs(ours[product] - theirs[product]).max() < 2e-5 * np.abs(theirs[product]).max(), product
