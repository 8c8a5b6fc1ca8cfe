"""The predicted types and bytes of every architecture against the files that are written and that llama.cpp quantises.

The models of decoders.py are narrow, so that most k-quants fall back; the wide ones here have rows of 256 and enough
layers for the rules that depend on the layer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from decoders import DECODERS, TOKENS
from edgequant.convert import conversion, gguf_write, ladder
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.formats import FORMATS, Format
from edgequant.convert.gguf_header import read_header
from test_ladder import QUANTISE

pytestmark = pytest.mark.slow

FLOATS = [FORMATS[name] for name in ("F32", "F16", "BF16")]
QUANTISED = [fmt for fmt in FORMATS.values() if fmt.container == "gguf" and fmt not in FLOATS]
ANY = ladder.Decoder(n_layers=1, n_heads=1, n_kv_heads=1)  # an unquantised file depends on names and shapes alone
_LAYERS = 16  # llama.cpp tells the first sixteenth and the first eighth apart
_ROWS = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": _LAYERS, "ffn_hidden_size": 512}
_ROWS |= {"n_embd": 256, "n_inner": 512, "n_layer": _LAYERS, "n_positions": 32}
_LONG = {"type": "longrope", "long_factor": [2.0] * 32, "short_factor": [1.0] * 32}


def _wide(name: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    """A model of decoders.py with rows of 256."""
    decoder = DECODERS[name]
    config = {key: _ROWS.get(key, value) for key, value in decoder.config.items() if key != "layer_types"}
    return decoder.kind, config | changes


WIDE = {
    "llama": _wide("llama", num_key_value_heads=1),
    "llama-tied": _wide("llama-tied", num_key_value_heads=4),
    "mixtral-8": _wide("mixtral", num_local_experts=8, num_hidden_layers=8),
    "mixtral-3": _wide("mixtral-all"),
    "qwen2-moe": _wide("qwen2-moe", moe_intermediate_size=256, shared_expert_intermediate_size=256),
    "qwen3-moe": _wide("qwen3-moe", moe_intermediate_size=256, num_experts=3, num_experts_per_tok=2),
    "gemma2": _wide("gemma2", num_key_value_heads=4),
    "phi": _wide("phi"),
    "phi3": _wide("phi3", num_key_value_heads=1),
    "phi3-long": _wide("phi3-long", rope_scaling=_LONG),
    "gpt2": _wide("gpt2"),
    "bigcode": _wide("bigcode"),
    "neox": _wide("neox"),
    "stablelm": _wide("stablelm-12b"),
    "olmo2": _wide("olmo2"),
    "falcon": _wide("falcon"),
    "falcon-11b": _wide("falcon-11b"),
    "llama-3": _wide("llama-3"),
}  # fmt: skip
WIDE |= {
    name: _wide(name, layer_types=kinds * (_LAYERS // 2), **changes)
    for name, kinds, changes in (
        ("lfm2", ["conv", "full_attention"], {}),
        ("qwen35", ["linear_attention", "full_attention"], {"linear_key_head_dim": 64, "linear_value_head_dim": 64}),
        ("gemma4-small", ["sliding_attention", "full_attention"], {"hidden_size_per_layer_input": 256}),
        ("gemma4-moe", ["sliding_attention", "full_attention"], {"moe_intermediate_size": 256}),
    )
    if name in DECODERS
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """Random checkpoints as transformers saves them: those of decoders.py, and the wide ones."""
    folder = tmp_path_factory.mktemp("checkpoints")
    narrow = {name: (decoder.kind, decoder.config) for name, decoder in DECODERS.items()}
    models = {**narrow, **{f"wide {name}": row for name, row in WIDE.items()}}
    rows = {name: {"class": kind, "config": config} for name, (kind, config) in models.items()}
    job = {"folder": str(folder), "tokens": TOKENS[:8], "seed": 7, "models": rows}
    script = Path(__file__).with_name("random_models.py")
    subprocess.run([sys.executable, script], input=json.dumps(job), text=True, capture_output=True, check=True)
    for name in models:
        small_checkpoint.write_tokenizer(folder / name)
    return {name: open_folder(folder / name, revision="r") for name in models}


def write(checkpoint: Checkpoint, fmt: Format, target: Path) -> Path:
    job = {"folder": str(checkpoint.path), "target": str(target), "format": fmt.name}
    gguf_write.write(job | {"source": "", "name": "n", "revision": "r"}, lambda text: None)
    return target


def difference(checkpoint: Checkpoint, fmt: Format, path: Path) -> str:
    """The first thing in which the prediction and the file are not the same; "" where all is."""
    header = read_header(path)
    shapes = conversion.gguf_shapes(checkpoint)
    predicted = ladder.tensor_types(fmt, shapes, decoder=conversion.decoder(checkpoint))
    real = {tensor.name: tensor.type for tensor in header.tensors}
    wrong = [f"{n}: {predicted.get(n)}, not {t}" for n, t in real.items() if predicted.get(n) != t]
    wrong += sorted(predicted.keys() - real.keys())
    n_bytes = sum(ladder.padded_bytes(predicted[name], shape) for name, shape in shapes)
    data_start = path.stat().st_size - n_bytes
    described = len(path.read_bytes()[:data_start].rstrip(b"\0"))
    if not wrong and not (data_start % ladder.ALIGNMENT == 0 and described <= data_start < described + 64):
        return f"{n_bytes} bytes of tensors are predicted, which is not what the file holds"
    return wrong[0] if wrong else ""


def test_unquantised_files_are_as_predicted(checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    found = {}
    for name, checkpoint in checkpoints.items():
        for fmt in FLOATS:
            found[name, fmt.name] = difference(checkpoint, fmt, write(checkpoint, fmt, tmp_path / "x.gguf"))
    assert {key: said for key, said in found.items() if said} == {}


def blank(checkpoint: Checkpoint, target: Path) -> Path:
    """The F16 file with all weights zero, which llama.cpp quantises ten times as quickly."""
    write(checkpoint, FORMATS["F16"], target)
    size = target.stat().st_size
    types = ladder.tensor_types(FORMATS["F16"], shapes := conversion.gguf_shapes(checkpoint), decoder=ANY)
    os.truncate(target, size - sum(ladder.padded_bytes(types[name], shape) for name, shape in shapes))
    os.truncate(target, size)
    return target


@pytest.mark.parametrize("which", ["narrow", "wide"])
def test_quantised_files_are_as_predicted(checkpoints: dict[str, Checkpoint], tmp_path: Path, which: str) -> None:
    chosen = {name: c for name, c in checkpoints.items() if name.startswith("wide") == (which == "wide")}
    files = {(name, fmt.name): tmp_path / f"{name}.{fmt.name}.gguf" for name in chosen for fmt in QUANTISED}
    sources = {name: blank(checkpoint, tmp_path / f"{name}.gguf") for name, checkpoint in chosen.items()}
    jobs = [(str(sources[name]), str(file), FORMATS[fmt].llama_ftype) for (name, fmt), file in files.items()]
    subprocess.run([sys.executable, "-c", QUANTISE], input=json.dumps(jobs), text=True, check=True)
    found = {key: difference(chosen[key[0]], FORMATS[key[1]], file) for key, file in files.items()}
    assert {key: said for key, said in found.items() if said} == {}
    seen = {tensor.type for file in files.values() for tensor in read_header(file).tensors}
    assert seen >= ({"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"} if which == "wide" else {"Q4_0", "Q5_0", "Q5_1", "Q8_0"})
