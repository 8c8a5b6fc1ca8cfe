"""A model that others trained tells the story that they published: export, tokenizer and inference in one assertion.

The text is printed in llama2.c's doc/stories260K.md and was seen again with transformers.
"""

from pathlib import Path

import pytest

from edgequant import child
from edgequant.convert import gguf_write
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.vocabulary.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("natives_importable")

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
    "a big, red ball. She wanted to play with it, but it was too high."
)


def story(folder: Path, container: str, path: Path) -> str:
    """What the model writes from BOS alone."""
    tokenizer = Tokenizer(folder)
    assert tokenizer.begin() == [1]
    job = {"container": container, "path": str(path), "tokens": tokenizer.begin(), "n": 80}
    return tokenizer.decode(child.run("native:greedy", job, deadline_seconds=120).unwrap()).lstrip()


@pytest.mark.parametrize("format", ["F16", "BF16", "F32"])
def test_through_llama_cpp(oracle_folder: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / f"{format}.gguf"
    job = {"folder": str(oracle_folder), "target": str(target), "format": format, "source": "", "name": "n"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    text = story(oracle_folder, "gguf", target)
    assert text.startswith(STORY if format != "BF16" else STORY[:90])


def test_the_checkpoint_is_the_one_that_is_meant(oracle_folder: Path) -> None:
    opened = open_folder(oracle_folder)
    assert (opened.n_parameters, opened.architecture, opened.dtype) == (260_032, "LlamaForCausalLM", "F32")


@pytest.mark.slow
def test_through_onnx_runtime(oracle_folder: Path, tmp_path: Path) -> None:
    job = {"folder": str(oracle_folder), "target": str(tmp_path / "onnx")}
    child.run("edgequant.convert.onnx_export:export", job).unwrap()
    assert story(oracle_folder, "onnx", tmp_path / "onnx").startswith(STORY)
