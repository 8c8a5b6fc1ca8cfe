"""Every supported architecture computes in llama.cpp what it computes in transformers, and a wrong key is seen."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import dialects
import small_checkpoint
from decoders import COMPARED, DECODERS, LEFT_OUT, TOKENS, TRANSFORMERS, transformers_makes
from edgequant import Error, child
from edgequant.convert import assembly, gguf_write
from edgequant.convert.architectures.table import ARCHITECTURES
from edgequant.convert.gguf_header import read_header
from wrong_keys import wrong_configurations

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("natives_importable")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all checkpoints, and transformers' logits beside each."""
    folder = tmp_path_factory.mktemp("decoders")
    models = {name: {"class": decoder.kind, "config": decoder.config} for name, decoder in DECODERS.items()}
    transformers_makes({"folder": str(folder), "tokens": TOKENS, "seed": 7, "models": models})
    for name, decoder in DECODERS.items():
        small_checkpoint.write_tokenizer(folder / name)
        small_checkpoint.change_json(folder / name / "config.json", **dict.fromkeys(decoder.dropped))
    return folder


def convert(folder: Path, target: Path, format: str = "F32") -> Path:
    job = {"folder": str(folder), "target": str(target), "format": format, "source": "", "name": "n", "revision": "r"}
    gguf_write.write(job, lambda text: None)
    return target


def compare(files: Mapping[Path, tuple[str, Path]]) -> dict[Path, Any]:
    """GGUF file -> its difference, or what failed, for files of (decoder, its stored logits)."""
    jobs = [
        {
            "path": str(path),
            "logits": str(logits),
            "tokens": TOKENS[: DECODERS[name].n_tokens],
            "context": DECODERS[name].context,
        }
        for path, (name, logits) in files.items()
    ]
    outcome = child.run("native:compare_logits", {"files": jobs})
    if outcome.status != "ok" and len(jobs) > 1:  # one of them kills llama.cpp: each by itself
        return {path: compare({path: file})[path] for path, file in files.items()}
    return dict(zip(files, outcome.value or [outcome.note], strict=True))


@pytest.fixture(scope="module")
def differences(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """(decoder, format) -> the largest difference of logits, relative to their range."""
    folder = tmp_path_factory.mktemp("converted")
    files = {
        convert(made / name, folder / f"{name}-{format}.gguf", format): (name, made / f"{name}.npy")
        for name in DECODERS
        for format in ("F32", "F16")
    }
    found = compare(files)
    return {(path.stem[:-4], path.stem[-3:]): value for path, value in found.items()}


@pytest.mark.parametrize("name", list(DECODERS))
def test_the_same_logits(differences: dict[tuple[str, str], Any], name: str) -> None:
    assert differences[name, "F32"] < DECODERS[name].limit
    if not DECODERS[name].chooses_experts:
        assert differences[name, "F32"] < differences[name, "F16"] < 5e-3


def test_every_architecture_is_compared_and_its_experts_in_half_precision_too() -> None:
    assert {decoder.kind for decoder in DECODERS.values()} == set(COMPARED)
    choosing = {decoder.kind for decoder in DECODERS.values() if decoder.chooses_experts}
    assert choosing <= {decoder.kind for decoder in DECODERS.values() if not decoder.chooses_experts}


def test_what_this_transformers_does_not_have_is_left_to_make_test_new() -> None:
    families = ("Gemma4", "Qwen3_5")
    newest = {f"{family}{part}" for family in families for part in ("ForCausalLM", "ForConditionalGeneration")}
    assert (newest if TRANSFORMERS < 5 else set()) == LEFT_OUT


def test_the_models_differ_in_what_they_are_made_for(made: Path) -> None:
    """Otherwise the comparison would prove nothing of scaling, norms and biases."""
    import numpy as np

    logits = {name: np.load(made / f"{name}.npy") for name in DECODERS}
    assert all(0.2 < values.std() < 50 for values in logits.values())
    for a, b in (
        ("llama", "llama-linear"),
        ("llama", "llama-3"),
        ("llama-yarn", "llama-yarn-factor"),
        ("mistral-window", "llama"),
        ("gemma3", "gemma3-linear"),
        ("phi3", "phi3-long"),
        ("phi3-long", "phi3-short"),
    ):
        assert np.abs(logits[a] - logits[b]).max() > 0.1, (a, b)


@pytest.mark.parametrize("name", list(DECODERS))
def test_both_dialects_of_the_configuration_make_the_same_file(made: Path, tmp_path: Path, name: str) -> None:
    folder, kind = shutil.copytree(made / name, tmp_path / name), DECODERS[name].kind
    here = small_checkpoint.read_json(folder / "config.json")
    there = dialects.as_transformers_5(here, kind) if TRANSFORMERS < 5 else dialects.as_transformers_4(here, kind)
    assert here != there or not ARCHITECTURES[kind].rope
    small_checkpoint.write_json(folder / "config.json", there)
    ours, theirs = convert(made / name, tmp_path / "here.gguf"), convert(folder, tmp_path / "there.gguf")
    assert filecmp.cmp(ours, theirs, shallow=False)


def with_stacked_experts(source: Path, target: Path, kind: str) -> Path:
    """The checkpoint as transformers 5 saves it with `save_original_format=False`; with 4, put together by hand."""
    shutil.copytree(source, target)
    if TRANSFORMERS >= 5:
        transformers_makes({"renamed": [[str(source), str(target), kind]]})
    else:
        tensors = dialects.with_stacked_experts(load_file(source / "model.safetensors"), kind)
        save_file(tensors, target / "model.safetensors")
    return target


@pytest.mark.parametrize("name", ["mixtral", "qwen2-moe", "qwen3-moe"])
def test_stacked_experts_make_the_same_file(made: Path, tmp_path: Path, name: str) -> None:
    stacked = with_stacked_experts(made / name, tmp_path / "stacked", DECODERS[name].kind)
    assert "model.layers.1.mlp.experts.gate_up_proj" in load_file(stacked / "model.safetensors")
    ours, theirs = convert(made / name, tmp_path / "a.gguf"), convert(stacked, tmp_path / "b.gguf")
    assert filecmp.cmp(ours, theirs, shallow=False)


# -- a wrong key


def said(path: Path) -> list[Any]:
    """What a file says and nothing computes: the context, and beside experts the size of what is not there."""
    header = read_header(path).metadata
    keys = ["context_length", *(["feed_forward_length"] if any("expert_feed" in key for key in header) else [])]
    return [header[f"{header['general.architecture']}.{key}"] for key in keys]


def keys_seen(name: str, made: Path, scratch: Path) -> set[str]:
    """The keys whose wrong value the conversion refuses, changes the logits, or stands in the file as the context."""
    right = convert(made / name, scratch / f"{name}.gguf")
    folder = scratch / name
    shutil.copytree(made / name, folder)
    seen: set[str] = set()
    files: dict[Path, tuple[str, Path]] = {}
    there = dialects.as_transformers_4(small_checkpoint.read_json(folder / "config.json"), DECODERS[name].kind)
    for key, config in wrong_configurations(DECODERS[name], there):
        small_checkpoint.write_json(folder / "config.json", config)
        try:
            path = convert(folder, scratch / f"{name}-{key}.gguf")
        except Error:
            seen.add(key)
            continue
        if said(path) != said(right):
            seen.add(key)
        files[path] = (name, made / f"{name}.npy")
    for path, difference in compare(files).items():
        if isinstance(difference, str) or difference > DECODERS[name].limit:
            seen.add(path.stem.removeprefix(f"{name}-"))
    return seen


#: what each kind of scaling has to say
_SAID = {
    "default": set(),
    "proportional": set(),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
    "longrope": {"long_factor", "short_factor"},
}


@pytest.mark.parametrize("kind", list(COMPARED))
def test_every_key_that_is_read_is_seen_when_it_is_wrong(made: Path, tmp_path: Path, kind: str) -> None:
    row = ARCHITECTURES[kind]
    seen: set[str] = set()
    for name, decoder in DECODERS.items():
        if decoder.kind == kind and not row.nested:
            seen |= keys_seen(name, made, tmp_path)
    expected = set(row.reads) | {f"rope_scaling.{key}" for which in row.rope for key in _SAID[which]}
    assert row.nested or expected - seen == set()


def test_a_part_of_a_larger_model_is_read_by_the_row_of_its_text_model() -> None:
    for name, row in ARCHITECTURES.items():
        if row.nested:
            twins = [other for other in ARCHITECTURES.values() if not other.nested and other.gguf == row.gguf]
            assert [twin.reads for twin in twins] == [row.reads], name


@pytest.mark.parametrize("kind", list(COMPARED))
def test_every_kind_of_scaling_is_compared(kind: str) -> None:
    row = ARCHITECTURES[kind]
    configs = [decoder.config for decoder in DECODERS.values() if decoder.kind == kind]
    said = [config.get("rope_scaling") or config.get("rope_parameters", {}).get("full_attention") for config in configs]
    scalings = [scaling or {"rope_type": "default"} for scaling in said]
    assert row.nested or {scaling.get("rope_type", scaling.get("type")) for scaling in scalings} >= set(row.rope)


# -- transformers' defaults


@cache
def transformers_defaults() -> dict[str, dict[str, Any]]:
    """Class -> its configuration where nothing is said."""
    found: dict[str, dict[str, Any]] = json.loads(transformers_makes({"defaults": sorted(COMPARED)}))
    return found


#: transformers fills these from other keys, as `geometry` does
_FOLLOWS = {"head_dim", "intermediate_size", "layer_types", "num_key_value_heads", "num_kv_heads", "ffn_hidden_size"}


@pytest.mark.parametrize("kind", [kind for kind, row in COMPARED.items() if not row.nested])
def test_the_table_has_transformers_own_defaults(kind: str) -> None:
    row, theirs = ARCHITECTURES[kind], transformers_defaults()[kind]
    for key, value in row.defaults.items():
        if key == "sliding_window" and not theirs.get("use_sliding_window", True):
            continue  # without effect, and 0 in some classes of transformers 5
        if key in theirs and not (value is None and key in _FOLLOWS):
            assert theirs[key] == pytest.approx(value) if isinstance(value, float) else theirs[key] == value, key
    for key, allowed in row.must_equal.items():
        if key in theirs and theirs[key] not in (None, []):
            values = theirs[key] if isinstance(theirs[key], list) else [theirs[key]]
            assert set(values) <= set(allowed) or row.defaults[key] == theirs[key], key


# -- the writer


def test_rows_that_are_not_interleaved_are_seen(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "interleave_rotary", lambda rows, head_rows: rows)
    path = convert(made / "llama", tmp_path / "x.gguf")
    assert compare({path: ("llama", made / "llama.npy")})[path] > 1e-2
