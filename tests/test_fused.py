"""The fused ONNX graph computes what transformers does, for every family that it can hold, in every format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dialects
import small_checkpoint
from decoders import DECODERS, TOKENS, transformers_makes
from edgequant import Error, child
from edgequant.convert.architectures.table import ARCHITECTURES
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import FORMATS
from edgequant.convert.fused import write
from edgequant.convert.fused.expressible import FAMILIES, obstacle
from edgequant.convert.onnx_header import read_header
from edgequant.convert.onnx_options import OnnxOptions
from edgequant.convert.vocabulary.tokenizer import Tokenizer
from wrong_keys import wrong_configurations

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("natives_importable")]

#: the families, but for those with experts, which share a name with them
HELD = {
    name: decoder
    for name, decoder in DECODERS.items()
    if ARCHITECTURES[decoder.kind].gguf in FAMILIES and "num_local_experts" not in decoder.config
}
CONTEXT = 256  # windows slide here, unlike in llama.cpp
LIMIT = 5e-5  # of the range of the logits, as for GGUF; GELU is exact here too
QUANTISED = [
    name for name, fmt in FORMATS.items() if fmt.container == "onnx" and name != "onnx-fp32" and not fmt.smoothed
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all checkpoints, and transformers' logits beside each."""
    folder = tmp_path_factory.mktemp("decoders")
    models = {name: {"class": decoder.kind, "config": decoder.config} for name, decoder in HELD.items()}
    transformers_makes({"folder": str(folder), "tokens": TOKENS, "seed": 7, "models": models})
    for name, decoder in HELD.items():
        small_checkpoint.write_tokenizer(folder / name)
        small_checkpoint.change_json(folder / name / "config.json", **dict.fromkeys(decoder.dropped))
    return folder


def convert(folder: Path, target: Path, format: str = "onnx-fp32", **options: Any) -> Path:
    job = {"folder": str(folder), "target": str(target), "format": format, "threads": 1}
    write.write({**job, "options": OnnxOptions(**options).job()}, lambda text: None)
    return target


def compare(folders: dict[Path, str], made: Path) -> dict[Path, Any]:
    """Folder of a graph -> what is off transformers' logits of the decoder named."""
    jobs = [
        {"path": str(path), "logits": str(made / f"{name}.npy"), "tokens": TOKENS, "context": CONTEXT}
        for path, name in folders.items()
    ]
    found = child.run("native:compare_onnx", {"graphs": jobs}).unwrap()
    return dict(zip(folders, found, strict=True))


def test_the_listed_families_are_held_and_no_others(made: Path) -> None:
    kinds = {ARCHITECTURES[decoder.kind].gguf for decoder in HELD.values()}
    assert kinds == set(FAMILIES)
    for name in HELD:
        assert obstacle(open_folder(made / name)) == ""


@pytest.fixture(scope="module")
def differences(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("graphs")
    found = compare({convert(made / name, folder / name): name for name in HELD}, made)
    return {path.name: off for path, off in found.items()}


@pytest.mark.parametrize("name", list(HELD))
def test_the_same_logits(differences: dict[str, Any], name: str) -> None:
    """At once, in parts that each see what went before, and token by token."""
    assert differences[name] == {way: pytest.approx(0, abs=LIMIT) for way in ("whole", "parts", "steps", "rewound")}


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3", "phi3", "olmo2", "granite-biases", "smollm3"])
@pytest.mark.parametrize("format", QUANTISED)
def test_quantised_formats_stay_near(made: Path, tmp_path: Path, name: str, format: str) -> None:
    (off,) = compare({convert(made / name, tmp_path / "x", format): name}, made).values()
    assert LIMIT < off["whole"] < (0.2 if format in ("onnx-int8", "onnx-w8a8") else 0.6)
    if "tensor" not in FORMATS[format].summary:  # where a token's scale depends on the others, parts differ
        assert off["parts"] == pytest.approx(off["whole"], rel=0.2) and off["steps"] == pytest.approx(
            off["whole"], rel=0.2
        )


@pytest.mark.parametrize("kind", sorted({decoder.kind for decoder in HELD.values()}))
def test_every_key_that_is_read_is_seen_when_it_is_wrong(made: Path, tmp_path: Path, kind: str) -> None:
    """Refused by a reader, left to Optimum, in the graph as the positions that it holds, or in the logits."""
    row, seen, graphs = ARCHITECTURES[kind], set[str](), dict[Path, str]()
    keys = dict[Path, str]()
    for name, decoder in HELD.items():
        if decoder.kind != kind or row.nested:
            continue
        right = positions(convert(made / name, tmp_path / f"{name}-right"))
        folder = shutil.copytree(made / name, tmp_path / name)
        there = dialects.as_transformers_4(small_checkpoint.read_json(folder / "config.json"), kind)
        for key, config in wrong_configurations(decoder, there):
            small_checkpoint.write_json(folder / "config.json", config)
            target = tmp_path / f"{name}-{key}"
            try:
                if obstacle(open_folder(folder)) or positions(convert(folder, target)) != right:
                    seen.add(key)
                    continue
            except Error:
                seen.add(key)
                continue
            graphs[target], keys[target] = name, key
    for path, off in compare(graphs, made).items():
        if isinstance(off, str) or not off["whole"] < LIMIT:
            seen.add(keys[path])
    assert row.nested or set(row.reads) - seen == set()


def positions(folder: Path) -> int:
    """Rows of the cache of cosines; 0 where it is small enough to lie in the graph as something else."""
    return sum(
        tensor.shape[0] for tensor in read_header(folder / "model.onnx").tensors if tensor.name.startswith("cos")
    )


def test_a_tied_head_shares_its_bytes(made: Path, tmp_path: Path) -> None:
    sizes = {}
    for format in ("onnx-fp32", "onnx-int8", "onnx-w8a8"):
        tied, untied = (convert(made / name, tmp_path / f"{name}-{format}", format) for name in ("llama-tied", "llama"))
        sizes[format] = [(folder / "model.onnx.data").stat().st_size for folder in (tied, untied)]
    vocabulary, hidden = np.load(made / "llama.npy").shape[-1], DECODERS["llama"].config["hidden_size"]
    head = {"onnx-fp32": 4 * hidden, "onnx-int8": hidden + 4 * hidden // 32, "onnx-w8a8": hidden + 4 * hidden // 32}
    for format, (tied_bytes, untied_bytes) in sizes.items():
        assert untied_bytes - tied_bytes == pytest.approx(vocabulary * head[format], abs=2 * 4096), format


@pytest.mark.parametrize("which", ["pocket", "demo"])
def test_greedy_text_is_transformers_own(request: pytest.FixtureRequest, tmp_path: Path, which: str) -> None:
    folder: Path = request.getfixturevalue(f"{which}_folder")
    prompt = {"pocket": "Mia has 3 apples and", "demo": "The capital of France is"}[which]
    tokenizer = Tokenizer(folder)
    job = {"tokens": [*tokenizer.begin(), *tokenizer.encode(prompt)], "n": 64, "context": 128}
    theirs = child.run("native:greedy_by_transformers", {**job, "folder": str(folder)}).unwrap()
    graph = {"container": "onnx", "path": str(convert(folder, tmp_path / "graph"))}
    assert child.run("native:greedy", {**job, **graph}).unwrap() == theirs
    assert len(theirs) == 64 and len(set(theirs)) > 8
